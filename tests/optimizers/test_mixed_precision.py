from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Situation
from core.data import DataSplits
from core.devices import Device
from core.errors import CannotCompose, NothingDone, RunFailed
from core.progress import Metric, Note, result_of
from core.reduced import float32_modules
from optimizers.mixed_precision import MixedPrecision
from optimizers.technique import Context
from optimizers.training.loop import Plan, train
from tests.optimizers.conftest import DATA, bundle_of, elsewhere, events_and_result
from tests.optimizers.overflowing import Overflowing

GPU = Device("cuda:0", "cuda", "a GPU", 2**30, compute_capability=(8, 0))
TURING = replace(GPU, compute_capability=(7, 5))


def metrics(events: list[Any], name: str) -> dict[str, list[float]]:
    """The values of a metric by its series."""
    found = [event for event in events if isinstance(event, Metric) and event.name == name]
    return {event.series: [each.value for each in found if each.series == event.series] for event in found}


def notes(events: list[Any]) -> list[Note]:
    return [event for event in events if isinstance(event, Note)]


def test_without_fine_tuning_only_the_precision_changes(bundle: ModelBundle, context: Context) -> None:
    result = result_of(MixedPrecision(precision="bf16").apply(bundle, context))
    assert result.precision == "bf16"
    assert result.module is bundle.module
    assert result.training is None


def test_fine_tuning_trains_float32_weights_under_autocast(bundle: ModelBundle, context: Context) -> None:
    technique = MixedPrecision(fine_tune_epochs=2, compare_fp32=False)
    events, result = events_and_result(technique.apply(bundle, context))
    assert {parameter.dtype for parameter in result.module.parameters()} == {torch.float32}
    assert not torch.equal(result.module.state_dict()["head.weight"], bundle.module.state_dict()["head.weight"])
    assert {series: len(values) for series, values in metrics(events, "accuracy").items()} == {"validation": 2}
    assert not metrics(events, "loss_scale")
    assert result.training is None


def test_the_comparison_changes_nothing_about_what_ships(bundle: ModelBundle, context: Context) -> None:
    alone, compared = (
        result_of(MixedPrecision(fine_tune_epochs=2, batch_size=16, compare_fp32=compares).apply(bundle, context))
        for compares in (False, True)
    )
    for name, tensor in alone.module.state_dict().items():
        assert torch.equal(tensor, compared.module.state_dict()[name]), name


def test_beside_it_the_same_steps_are_trained_in_fp32(bundle: ModelBundle, context: Context) -> None:
    technique = MixedPrecision(fine_tune_epochs=2, batch_size=16, learning_rate=0.005)
    events, result = events_and_result(technique.apply(bundle, context))
    comparison = result.training
    assert comparison is not None
    ours, theirs = comparison.runs
    assert (ours.precision, theirs.precision) == ("bf16", "fp32")
    assert len(ours.losses) == len(theirs.step_ms) == sum(comparison.turns) == 16
    assert (ours.step_ms.array > 0).all()
    assert np.allclose(ours.losses.array, theirs.losses.array, rtol=0.05)
    assert not np.array_equal(ours.losses.array, theirs.losses.array)
    assert ours.images == len(DATA.calibrate)
    assert ours.correct - theirs.correct == comparison.only_first_right - comparison.only_second_right
    for name in ("loss", "samples_per_s", "training_bytes"):
        assert set(metrics(events, name)) == {"BF16", "FP32"}
    assert metrics(events, "accuracy")["validation, FP32"][-1] == theirs.correct / theirs.images


def test_its_fp32_is_the_training_that_every_other_technique_does(bundle: ModelBundle, context: Context) -> None:
    alone = result_of(train(bundle.module, bundle, elsewhere(context), Plan(2, 0.005, batch_size=16)))
    technique = MixedPrecision(fine_tune_epochs=2, batch_size=16, learning_rate=0.005, training="fp32")
    trained = result_of(technique.apply(bundle, context))
    assert trained.training is None
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, trained.module.state_dict()[name])


def test_fp16_reports_its_loss_scale(bundle: ModelBundle, context: Context) -> None:
    """`check` refuses fp16 on a CPU because it is slow; the arithmetic is the same as on a GPU."""
    events, result = events_and_result(MixedPrecision(precision="fp16", fine_tune_epochs=1).apply(bundle, context))
    (series,) = metrics(events, "loss_scale").items()
    assert series[0] == "FP16"
    assert all(scale >= 1 and scale.is_integer() for scale in series[1])
    assert result.training is not None
    ours, theirs = result.training.runs
    assert ours.log2_scales is not None
    assert ours.log2_scales.array[0] == 16
    assert theirs.log2_scales is None


def test_training_may_be_in_another_precision_than_what_ships(bundle: ModelBundle, context: Context) -> None:
    technique = MixedPrecision(precision="fp32", training="bf16", fine_tune_epochs=1)
    assert technique.label() == "FP32 trained in BF16"
    result = result_of(technique.apply(bundle, context))
    assert (result.precision, result.applied) == ("fp32", ("mixed_precision",))
    assert result.training is not None
    assert result.training.runs[0].precision == "bf16"


def test_recipes_from_before_train_in_what_ships() -> None:
    old = MixedPrecision.model_validate({"precision": "fp16", "fine_tune_epochs": 3, "learning_rate": 0.001})
    assert old.training_precision == "fp16"
    assert old.label() == "FP16"


def test_fp32_without_an_epoch_does_nothing_and_says_so(
    bundle: ModelBundle, context: Context, situation: Situation
) -> None:
    idle = MixedPrecision(precision="fp32")
    with pytest.raises(CannotCompose, match="leave the network as it is"):
        idle.check(situation)
    with pytest.raises(NothingDone):
        result_of(idle.apply(bundle, context))
    assert MixedPrecision(precision="fp32", training="bf16", fine_tune_epochs=1).check(situation).precision == "fp32"


@pytest.mark.parametrize(
    ("settings", "device", "reason"),
    [
        ({"training": "tf32"}, None, "tf32 on a CPU"),
        ({"training": "tf32", "precision": "fp16"}, TURING, "8.0 .Ampere. or newer"),
        ({"training": "fp16"}, None, "4 to 21 times slower"),
        ({"training": "bf16", "precision": "fp16"}, TURING, "compute capability is 7.5"),
    ],
)
def test_what_the_device_cannot_train_in_is_refused_with_the_reason(
    settings: dict[str, Any], device: Device | None, reason: str, situation: Situation
) -> None:
    place = replace(situation, device=device or situation.device, runtime="pytorch")
    with pytest.raises(CannotCompose, match=reason):
        MixedPrecision(fine_tune_epochs=1, **settings).check(place)


def test_an_ampere_gpu_trains_in_tf32(situation: Situation) -> None:
    technique = MixedPrecision(precision="fp16", training="tf32", fine_tune_epochs=1)
    assert technique.check(replace(situation, device=GPU, runtime="pytorch")).precision == "fp16"
    assert technique.label() == "FP16 trained in TF32"


def test_the_precision_of_training_does_not_matter_where_nothing_is_trained(situation: Situation) -> None:
    assert MixedPrecision(training="tf32").check(situation).precision == "bf16"


@pytest.fixture
def overflowing() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(Overflowing().eval())


def test_what_overflows_is_kept_in_float32_and_named(overflowing: ModelBundle, context: Context) -> None:
    events, result = events_and_result(MixedPrecision(precision="fp16").apply(overflowing, context))
    assert float32_modules(result.module) == ("norm", "soft")
    assert float32_modules(overflowing.module) == ()
    repair, exported = notes(events)
    assert repair.warning
    assert "pow in norm; exp in soft" in repair.text
    assert "norm and soft stay in FP32" in repair.text
    assert not exported.warning
    for name, tensor in overflowing.module.state_dict().items():
        assert torch.equal(tensor, result.module.state_dict()[name])


def test_openvino_which_lowers_everything_by_itself_is_refused_then(overflowing: ModelBundle, context: Context) -> None:
    with pytest.raises(RunFailed, match=r"pow in norm.*OpenVINO cannot keep"):
        result_of(MixedPrecision(precision="fp16").apply(overflowing, replace(context, runtime="openvino")))


class Coarse(nn.Module):
    """Answers by what bf16 rounds away."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(144, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.flatten(1) + 300)
        return logits


def test_answers_that_differ_without_overflow_are_reported(context: Context) -> None:
    torch.manual_seed(0)
    network = Coarse()
    with torch.no_grad():
        network.head.weight -= network.head.weight.mean(1, keepdim=True)
    events, _ = events_and_result(MixedPrecision().apply(bundle_of(network.eval()), context))
    (note,) = notes(events)
    assert note.warning
    assert "although nothing overflowed" in note.text


def test_without_calibration_images_it_says_that_nobody_looked(bundle: ModelBundle, context: Context) -> None:
    blind = replace(bundle, data=DataSplits(DATA.train, DATA.calibrate.take(0), DATA.test))
    events, result = events_and_result(MixedPrecision().apply(blind, context))
    assert result.module is bundle.module
    assert [note.warning for note in notes(events)] == [True]
