"""A training that was cut short goes on as if nothing had happened."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.progress import Event, Metric, Note, Progress, Steps, result_of
from optimizers.qat import FreezeRanges
from optimizers.quantization.fake_quant import fake_quantized
from optimizers.technique import Context
from optimizers.training import checkpoints
from optimizers.training.loop import Plan, TrainedTogether, train, train_together
from tests.optimizers.conftest import DATA, TinyNet, bundle_of, elsewhere, events_and_result
from tests.optimizers.quantization.test_fake_quant import grids_of

PLAN = Plan(6, 0.02, batch_size=16)
GOES_ON = "Goes on at epoch 4 of 6, from a checkpoint."


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every epoch, however short it is."""
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 0)


class Restless(TinyNet):
    """Draws random numbers while it trains."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.2, self.training))


def restless() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(Restless())


class Fading:
    """Masks with a memory: weights whose gradients were smallest so far are zero, more of them over time."""

    def attach(self, network: nn.Module) -> None:
        self.weight = network.get_parameter("block.0.weight")
        self.sum = torch.zeros_like(self.weight)

    def after_backward(self) -> None:
        assert self.weight.grad is not None
        self.sum += self.weight.grad.abs()

    def after_step(self, share_done: float) -> None:
        self.weight[self.sum <= self.sum.quantile(share_done / 2)] = 0

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sum.copy_(state["sum"])


class Regressor:
    """Teaching that trains a layer of its own beside the student."""

    def attach(self, student: nn.Module) -> Iterator[nn.Parameter]:
        self.layer = nn.Linear(4, 4)
        return self.layer.parameters()

    def loss(self, logits: Tensor, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.layer(logits), batch.targets)

    def fingerprint(self) -> str:
        return "a layer"

    def state_dict(self) -> dict[str, Any]:
        return self.layer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.layer.load_state_dict(state)


def abandoned(steps: Steps[Any], *, in_epoch: str = "epoch 4 of 6") -> None:
    """Leave a training in the midst of an epoch, as a kill would."""
    for event in steps:
        if isinstance(event, Progress) and event.doing == in_epoch:
            break
    steps.close()


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, precision="fp16", keep_zeros=True),
        replace(PLAN, precision="bf16", optimizer="sgd", schedule="cosine", augmentation="erase", accumulate=3),
        replace(PLAN, optimizer="sgd", learning_rate=0.3, schedule="constant", keep="best", patience=5),
    ],
    ids=["usual", "fp16", "sgd", "best"],
)
def test_an_abandoned_training_goes_on_bit_for_bit(context: Context, plan: Plan) -> None:
    bundle = restless()
    with torch.no_grad():
        bundle.module.block[0].weight[:, ::2] = 0
    unbroken, expected = events_and_result(train(bundle.module, bundle, elsewhere(context), plan))
    abandoned(train(bundle.module, bundle, context, plan))
    events, resumed = events_and_result(train(bundle.module, bundle, context, plan))
    assert notes(events)[0] == GOES_ON
    assert_equal(resumed, expected)
    (accuracy, again) = (
        [e for e in every if isinstance(e, Metric) and e.name == "accuracy"] for every in (unbroken, events)
    )
    assert [point.value for point in again] == [point.value for point in accuracy][3:]


def test_masks_and_teaching_go_on_too(context: Context) -> None:
    bundle = restless()

    def training(place: Context) -> Steps[nn.Module]:
        return train(bundle.module, bundle, place, PLAN, masks=Fading(), guidance=Regressor())

    expected = result_of(training(elsewhere(context)))
    abandoned(training(context))
    events, resumed = events_and_result(training(context))
    assert notes(events) == [GOES_ON]
    assert_equal(resumed, expected)
    assert 0.4 < float((resumed.get_parameter("block.0.weight") == 0).float().mean()) < 0.6


def test_those_that_take_turns_go_on_together(context: Context) -> None:
    bundle = restless()
    plans = (replace(PLAN, precision="bf16"), PLAN)
    expected: TrainedTogether = result_of(train_together(bundle.module, bundle, elsewhere(context), plans))
    abandoned(train_together(bundle.module, bundle, context, plans))
    events, resumed = events_and_result(train_together(bundle.module, bundle, context, plans))
    assert notes(events) == [GOES_ON]
    assert resumed.turns == expected.turns
    for ours, theirs in zip(resumed.each, expected.each, strict=True):
        assert_equal(ours.network, theirs.network)
        assert ours.run.losses == theirs.run.losses
        assert len(ours.run.step_ms) == len(theirs.run.step_ms)
        assert ours.run.memory_bytes == theirs.run.memory_bytes
        assert ours.run.correct == theirs.run.correct


def test_ranges_of_activations_go_on_in_quantization_aware_training(bundle: ModelBundle, context: Context) -> None:
    """Frozen for good in epoch 3: in the network that goes on they have to be so from its first step."""
    rounding = fake_quantized(bundle.module, grids_of(bundle.module.eval(), per_channel=True))

    def training(place: Context) -> Steps[nn.Module]:
        return train(rounding, bundle, place, PLAN, on_epoch=FreezeRanges(0.3))

    expected = result_of(training(elsewhere(context)))
    abandoned(training(context))
    events, resumed = events_and_result(training(context))
    assert notes(events) == [GOES_ON]
    assert_equal(resumed, expected)
    ranges = [tensor for name, tensor in resumed.state_dict().items() if name.endswith("rounds_input.range")]
    assert len(ranges) == 3
    assert not torch.equal(ranges[2], rounding.state_dict()["head.rounds_input.range"])


def test_a_complete_training_is_not_done_again(context: Context) -> None:
    bundle = restless()
    expected = result_of(train(bundle.module, bundle, context, PLAN))
    events, again = events_and_result(train(bundle.module, bundle, context, PLAN))
    assert notes(events) == ["This training of 6 epochs was complete before; a checkpoint has its outcome."]
    assert len(events) == 1
    assert_equal(again, expected)


def other_images(bundle: ModelBundle) -> ModelBundle:
    return replace(bundle, data=replace(DATA, train=DATA.calibrate))


def other_weights(bundle: ModelBundle) -> ModelBundle:
    torch.manual_seed(1)
    return bundle_of(Restless())


@pytest.mark.parametrize(
    ("plan", "change", "seed"),
    [
        (replace(PLAN, weight_decay=0.1), None, 0),
        (PLAN, other_images, 0),
        (PLAN, other_weights, 0),
        (PLAN, None, 1),
    ],
)
def test_another_training_begins_at_the_beginning(context: Context, plan: Plan, change: Any, seed: int) -> None:
    bundle = restless()
    abandoned(train(bundle.module, bundle, context, PLAN))
    changed = change(bundle) if change else bundle
    steps = train(changed.module, changed, replace(context, seed=seed), plan)
    first = next(steps)
    steps.close()
    assert isinstance(first, Progress)
    assert first.done == 1


@pytest.mark.parametrize(("after", "goes_on"), [(0.3, True), (0.5, False)])
def test_ranges_frozen_at_another_time_are_another_training(context: Context, after: float, goes_on: bool) -> None:
    bundle = restless()
    abandoned(train(bundle.module, bundle, context, PLAN, on_epoch=FreezeRanges(0.3)))
    steps = train(bundle.module, bundle, context, PLAN, on_epoch=FreezeRanges(after))
    first = next(steps)
    steps.close()
    assert isinstance(first, Note) is goes_on


def test_a_full_disk_is_said_once_and_costs_nothing_else(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = restless()
    expected = result_of(train(bundle.module, bundle, elsewhere(context), PLAN))
    tries = []

    def full(descriptor: int) -> None:
        tries.append(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    events, network = events_and_result(train(bundle.module, bundle, context, PLAN))
    (note,) = (event for event in events if isinstance(event, Note))
    assert note.warning
    assert "No space left on device" in note.text
    assert len(tries) == 6
    assert list(context.folder.glob("training-*")) == []
    assert_equal(network, expected)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif how == "with one wrong bit":
        weight = content.find(
            torch.load(path, weights_only=True)["states"][0]["network"]["head.weight"].numpy().tobytes()
        )
        path.write_bytes(content[:weight] + bytes([content[weight] ^ 1]) + content[weight + 1 :])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "of another kind":
        torch.save({"epoch": 3}, path)
    else:
        kept = torch.load(path, weights_only=True)
        kept["states"][0]["random"] = "nonsense"
        torch.save(kept, path)


@pytest.mark.parametrize("how", ["cut short", "empty", "with one wrong bit", "of another kind", "nonsense"])
def test_a_checkpoint_that_cannot_be_used_is_named_and_left_aside(context: Context, how: str) -> None:
    bundle = restless()
    expected = result_of(train(bundle.module, bundle, elsewhere(context), PLAN))
    abandoned(train(bundle.module, bundle, context, PLAN))
    (path,) = context.folder.glob("training-*.pt")
    damage(path, how)
    events, network = events_and_result(train(bundle.module, bundle, context, PLAN))
    (note,) = (event for event in events if isinstance(event, Note))
    assert note.warning
    assert "begins anew" in note.text
    assert_equal(network, expected)


def test_it_is_seldom_written_but_always_at_the_end(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 3600)
    bundle = restless()
    abandoned(train(bundle.module, bundle, context, PLAN))
    assert list(context.folder.iterdir()) == []
    result_of(train(bundle.module, bundle, context, PLAN))
    assert [path.suffix for path in context.folder.iterdir()] == [".pt"]


_VICTIM = """
import sys, time
from pathlib import Path
from optimizers.training import checkpoints
from tests.optimizers.training.test_checkpoints import PLAN, restless, train
from tests.optimizers.conftest import build_network
from core.devices import find_device
from optimizers.technique import Context
checkpoints.SAVE_EVERY_S = 0
bundle = restless()
for event in train(bundle.module, bundle, Context(find_device("cpu"), 1, 0, Path(sys.argv[1]), build_network), PLAN):
    if getattr(event, "doing", "") == "epoch 4 of 6":
        print("in the midst", flush=True)
        time.sleep(600)
"""


def test_a_killed_process_loses_nothing_that_a_checkpoint_has(context: Context) -> None:
    place = {"env": os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}, "text": True}
    victim = subprocess.Popen([sys.executable, "-c", _VICTIM, context.folder], stdout=subprocess.PIPE, **place)
    assert victim.stdout
    assert victim.stdout.readline() == "in the midst\n"
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    victim.stdout.close()
    bundle = restless()
    events, resumed = events_and_result(train(bundle.module, bundle, context, PLAN))
    assert notes(events) == [GOES_ON]
    assert_equal(resumed, result_of(train(bundle.module, bundle, elsewhere(context), PLAN)))
