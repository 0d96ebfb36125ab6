from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.bundle import ModelBundle
from core.data import DataSplits
from core.devices import find_device
from core.progress import Metric, result_of
from optimizers import TECHNIQUES, Context
from optimizers.training import Plan, TrainingPrecision, evaluate, train
from tests.optimizers.conftest import DATA, TinyNet, build_network, bundle_of, events_and_result, images

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
PLAN = Plan(12, 0.02, batch_size=32)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(find_device("cuda:0"), 1, 0, tmp_path, build_network)


@pytest.fixture
def bundle() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(TinyNet(), data=DataSplits(images(512, seed=3), DATA.calibrate, DATA.test))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_learns_and_gives_float32_weights_on_the_cpu(
    bundle: ModelBundle, context: Context, precision: TrainingPrecision
) -> None:
    plan = Plan(PLAN.epochs, PLAN.learning_rate, batch_size=PLAN.batch_size, precision=precision)
    events, trained = events_and_result(train(bundle.module, bundle, context, plan))
    assert {(parameter.dtype, parameter.device.type) for parameter in trained.parameters()} == {(torch.float32, "cpu")}
    assert evaluate(trained, bundle) > 0.9
    scales = [event.value for event in events if isinstance(event, Metric) and event.name == "loss_scale"]
    assert bool(scales) is (precision == "fp16")
    assert all(scale >= 1 for scale in scales)


def test_the_same_seed_gives_the_same_weights(bundle: ModelBundle, context: Context) -> None:
    first, again = (result_of(train(bundle.module, bundle, context, PLAN)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("key", ["distillation", "structured_pruning", "magnitude_pruning", "mixed_precision"])
def test_a_technique_leaves_its_network_on_the_cpu(bundle: ModelBundle, context: Context, key: str) -> None:
    settings = {"mixed_precision": {"precision": "fp16", "fine_tune_epochs": 1}}.get(key, {"epochs": 1})
    result = result_of(TECHNIQUES[key](**settings).apply(bundle, context))  # type: ignore[arg-type]
    assert {parameter.device.type for parameter in result.module.parameters()} == {"cpu"}
    assert {parameter.device.type for parameter in bundle.module.parameters()} == {"cpu"}
