from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.devices import find_device
from core.progress import result_of
from optimizers.technique import Context
from optimizers.training import checkpoints
from optimizers.training.loop import Plan, train, train_together
from tests.optimizers.conftest import build_network, elsewhere, events_and_result
from tests.optimizers.training.test_checkpoints import GOES_ON, Fading, abandoned, assert_equal, notes, restless

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
PLAN = Plan(6, 0.02, batch_size=16)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """With a checkpoint after every epoch."""
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 0)
    return Context(find_device("cuda:0"), 1, 0, tmp_path, build_network)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, precision="fp16", accumulate=2, keep="best"),
        replace(PLAN, precision="bf16", optimizer="sgd", schedule="cosine", augmentation="erase"),
    ],
    ids=["fp32", "fp16", "bf16"],
)
def test_an_abandoned_training_goes_on_bit_for_bit(context: Context, plan: Plan) -> None:
    """Dropout and augmentation draw from the GPU's own generator, whose state has to come back."""
    bundle = restless()
    expected = result_of(train(bundle.module, bundle, elsewhere(context), plan))
    abandoned(train(bundle.module, bundle, context, plan))
    events, resumed = events_and_result(train(bundle.module, bundle, context, plan))
    assert notes(events)[0] == GOES_ON
    assert_equal(resumed, expected)


def test_masks_go_on_where_they_were(context: Context) -> None:
    bundle = restless()
    expected = result_of(train(bundle.module, bundle, elsewhere(context), PLAN, masks=Fading()))
    abandoned(train(bundle.module, bundle, context, PLAN, masks=Fading()))
    resumed = result_of(train(bundle.module, bundle, context, PLAN, masks=Fading()))
    assert_equal(resumed, expected)


def test_those_that_take_turns_go_on_together(context: Context) -> None:
    bundle = restless()
    plans = (replace(PLAN, precision="fp16"), PLAN)
    expected = result_of(train_together(bundle.module, bundle, elsewhere(context), plans))
    abandoned(train_together(bundle.module, bundle, context, plans))
    events, resumed = events_and_result(train_together(bundle.module, bundle, context, plans))
    assert notes(events)[0] == GOES_ON
    for ours, theirs in zip(resumed.each, expected.each, strict=True):
        assert_equal(ours.network, theirs.network)
        assert ours.run.memory_bytes > 0
