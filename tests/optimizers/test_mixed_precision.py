from __future__ import annotations

import torch

from core.bundle import ModelBundle
from core.progress import Metric, result_of
from optimizers.mixed_precision import MixedPrecision
from optimizers.technique import Context
from tests.optimizers.conftest import events_and_result


def test_without_fine_tuning_only_the_precision_changes(bundle: ModelBundle, context: Context) -> None:
    result = result_of(MixedPrecision(precision="bf16").apply(bundle, context))
    assert result.precision == "bf16"
    assert result.module is bundle.module


def test_fine_tuning_trains_float32_weights_under_autocast(bundle: ModelBundle, context: Context) -> None:
    events, result = events_and_result(MixedPrecision(fine_tune_epochs=2).apply(bundle, context))
    assert {parameter.dtype for parameter in result.module.parameters()} == {torch.float32}
    assert not torch.equal(result.module.state_dict()["head.weight"], bundle.module.state_dict()["head.weight"])
    assert [event.name for event in events if isinstance(event, Metric)].count("accuracy") == 2
    assert "loss_scale" not in {event.name for event in events if isinstance(event, Metric)}


def test_fp16_reports_its_loss_scale(bundle: ModelBundle, context: Context) -> None:
    """`check` refuses fp16 on a CPU because it is slow; the arithmetic is the same as on a GPU."""
    events, _ = events_and_result(MixedPrecision(precision="fp16", fine_tune_epochs=1).apply(bundle, context))
    scales = [event.value for event in events if isinstance(event, Metric) and event.name == "loss_scale"]
    assert scales
    assert all(scale >= 1 and scale.is_integer() for scale in scales)
