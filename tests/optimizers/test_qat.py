from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.errors import CannotCompose
from core.progress import Metric, Progress, result_of
from optimizers.int8 import Int8
from optimizers.qat import QuantizationAwareTraining
from optimizers.technique import Context
from tests.optimizers.conftest import DATA, bundle_of, elsewhere, events_and_result


@pytest.fixture
def for_onnx(context: Context) -> Context:
    return replace(context, runtime="onnxruntime")


class Uneven(nn.Module):
    """Channels of very different weights: with one scale for all of them the small ones are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 5, stride=2)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        return self.head(torch.relu(self.depthwise(x)).mean((2, 3)))


@pytest.fixture
def uneven(context: Context) -> ModelBundle:
    """Trained, then made uneven without changing a single answer."""
    from optimizers.training.loop import Plan, train

    torch.manual_seed(0)
    start = bundle_of(Uneven())
    network = result_of(train(start.module, start, context, Plan(30, 0.02, batch_size=32)))
    spread = torch.logspace(0, 5, 8)
    with torch.no_grad():
        network.depthwise.weight.mul_(spread.reshape(-1, 1, 1, 1))  # type: ignore[operator,union-attr]
        network.depthwise.bias.mul_(spread)  # type: ignore[operator,union-attr]
        network.head.weight.div_(spread)  # type: ignore[operator,union-attr]
    return bundle_of(network)


def accuracy(bundle: ModelBundle) -> float:
    assert isinstance(bundle.network, OnnxGraph)
    session = onnxruntime.InferenceSession(bundle.network.content)
    logits = session.run(["logits"], {"input": bundle.contract.prepare(DATA.test.pixels)})[0]
    return float(DATA.test.is_correct(logits.argmax(1)).mean())


def test_training_wins_back_what_one_scale_for_all_channels_lost(uneven: ModelBundle, for_onnx: Context) -> None:
    x = torch.from_numpy(uneven.contract.prepare(DATA.test.pixels))
    in_float = DATA.test.is_correct(uneven.module(x).argmax(1).numpy()).mean()
    plain = accuracy(result_of(Int8(calibration_images=48, per_channel=False).apply(uneven, for_onnx)))
    technique = QuantizationAwareTraining(
        calibration_images=48, per_channel=False, epochs=15, learning_rate=0.01, teacher=0
    )
    trained = accuracy(result_of(technique.apply(uneven, for_onnx)))
    assert in_float > plain + 0.1, "otherwise there is nothing to win back"
    assert trained - plain > 0.5 * (in_float - plain)


def test_it_tells_how_training_goes_and_keeps_the_seed(bundle: ModelBundle, for_onnx: Context) -> None:
    technique = QuantizationAwareTraining(calibration_images=16, epochs=1)
    events, result = events_and_result(technique.apply(bundle, for_onnx))
    assert any(isinstance(event, Metric) and event.name == "loss" for event in events)
    assert any(isinstance(event, Progress) and event.doing == "asking the teacher" for event in events)
    assert (result.applied, result.precision) == (("qat",), "int8")
    again = result_of(technique.apply(bundle, elsewhere(for_onnx)))
    assert isinstance(result.network, OnnxGraph)
    assert isinstance(again.network, OnnxGraph)
    x = {"input": bundle.contract.prepare(DATA.test.pixels)}
    first, second = (
        onnxruntime.InferenceSession(network.content).run(["logits"], x)[0]
        for network in (result.network, again.network)
    )
    np.testing.assert_array_equal(first, second)


def test_it_needs_training_images(situation: Situation) -> None:
    with pytest.raises(CannotCompose, match="without training images"):
        QuantizationAwareTraining().check(replace(situation, train_images=0, runtime="onnxruntime"))


def test_it_takes_every_setting_of_the_starting_point(situation: Situation) -> None:
    assert set(Int8.model_fields) < set(QuantizationAwareTraining.model_fields)
    with pytest.raises(CannotCompose, match="min-max, percentile or MSE"):
        QuantizationAwareTraining(method="entropy").check(replace(situation, runtime="openvino"))
