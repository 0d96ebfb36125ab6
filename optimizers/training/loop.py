"""The one fine-tuning loop. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal

import torch
from torch import nn

from core.bundle import ModelBundle
from core.judging import Judging
from core.progress import Note, Progress, Steps
from core.quantization import TrainingPrecision
from optimizers.state import on_device, torch_state
from optimizers.teaching.guidance import Teaching
from optimizers.technique import Context
from optimizers.training.batches import Examples
from optimizers.training.checkpoints import UNUSABLE, Checkpoint, fingerprint_of
from optimizers.training.examples import examples_of
from optimizers.training.judging import right_answers
from optimizers.training.masks import Masks
from optimizers.training.settings import Augmentation, OptimizerName, ScheduleName
from optimizers.training.trainer import OnEpoch, Trained, Trainer

_TURNS = 40
"""Roughly how many turns each network has when several are trained: enough to tell how much their pace varies."""


@dataclass(frozen=True)
class Plan:
    """How long and how strongly to train."""

    epochs: int
    learning_rate: float
    """The highest one."""
    batch_size: int = 64
    precision: TrainingPrecision = "fp32"
    keep_zeros: bool = False
    """Whether prunable weights that are exactly zero at the start are so after every step; all else always moves."""
    optimizer: OptimizerName = "adamw"
    schedule: ScheduleName = "one_cycle"
    warm_up: float = 0.3
    """Share of the training in which the learning rate rises."""
    weight_decay: float = 0.01
    augmentation: Augmentation = "mirror"
    accumulate: int = 1
    """Batches whose gradients are averaged for one step of the optimizer; those left over by an epoch are left out."""
    keep: Literal["last", "best"] = "last"
    patience: int = 0
    """Epochs without a better accuracy on calibration images after which it ends; 0 for never."""
    settled_after: float = 0.0
    """Share of the training before which no epoch counts as the best, because the network still changes its form."""


@dataclass(frozen=True)
class TrainedTogether:
    """What came of plans that differ in nothing but their precision."""

    each: tuple[Trained, ...]
    """In the order of the plans."""
    turns: tuple[int, ...]
    """Steps of each turn, in order."""


def train(
    network: nn.Module,
    bundle: ModelBundle,
    context: Context,
    plan: Plan,
    *,
    guidance: Teaching | None = None,
    masks: Masks | None = None,
    on_epoch: OnEpoch | None = None,
) -> Steps[nn.Module]:
    """A trained copy of `network` on the CPU, in float32 and eval mode; the bundle gives examples and contract.

    Reduced precision is autocast, with scaled gradients for fp16 (Micikevicius et al. 2017,
    https://arxiv.org/abs/1710.03740). Same seed, device, threads and library versions, same weights (on a GPU only as
    far as cuDNN computes, which is held to deterministic algorithms), even where the training was killed in between:
    what it left in the context's folder is where the next one goes on. `on_epoch` is called before each epoch that is
    still to come with the trainee and the share of the training that is done; settings of its own are fields of a
    dataclass, so that they tell checkpoints apart. Raises `RunFailed` once a loss is not finite, `BadInput` where there
    are neither labels nor guidance.
    """
    with torch_state(context):
        examples = _examples(bundle, context)
        trainer = Trainer(
            on_device(network, context), examples, plan, guidance=guidance, masks=masks, on_epoch=on_epoch
        )
        done = yield from _carried_out([trainer], bundle, _checkpoint(network, bundle, context, [trainer]))
    return done.each[0].network


def train_together(
    network: nn.Module, bundle: ModelBundle, context: Context, plans: Sequence[Plan]
) -> Steps[TrainedTogether]:
    """What `train` makes of each plan, one beside the other; plans may differ in their precision only.

    All start from the same weights and see the same batches in the same order. They take turns of a few steps, in
    alternating order, so that whatever else the machine does strikes all of them alike. The first decides for all
    when to stop early.
    """
    with torch_state(context):
        examples = _examples(bundle, context)
        trainers = [Trainer(on_device(network, context), examples, plan, is_alone=len(plans) == 1) for plan in plans]
        return (yield from _carried_out(trainers, bundle, _checkpoint(network, bundle, context, trainers)))


def evaluate(network: nn.Module, bundle: ModelBundle, precision: TrainingPrecision = "fp32") -> float:
    """Share of the calibration images, which no training sees, that the network gets right where it is."""
    return float(right_answers(network, bundle, precision).mean())


def _examples(bundle: ModelBundle, context: Context) -> Examples:
    return examples_of(bundle.data.train, bundle.contract, torch.device(context.device.id))


def _checkpoint(network: nn.Module, bundle: ModelBundle, context: Context, trainers: Sequence[Trainer]) -> Checkpoint:
    """Where these trainings are kept; its name tells apart all that would make others of them."""
    first, data = trainers[0], bundle.data
    place = (str(torch.__version__), context.device.kind, context.threads, context.seed)
    seen = (data.train.pixels, data.train.labels, data.calibrate.pixels, data.calibrate.labels, bundle.contract)
    masks = [(type(each).__qualname__, each.state_dict()) for each in first.masks]
    taught = first.guidance.fingerprint()
    hook = first.on_epoch if is_dataclass(first.on_epoch) else getattr(first.on_epoch, "__qualname__", "")
    plans = [trainer.plan for trainer in trainers]
    return Checkpoint(context.folder, fingerprint_of((plans, place, network, seen, masks, taught, hook)))


def _carried_out(trainers: Sequence[Trainer], bundle: ModelBundle, checkpoint: Checkpoint) -> Steps[TrainedTogether]:
    """Every epoch that is still to come, and what came of all."""
    if checkpoint.exists:
        yield _resumed(trainers, checkpoint)
    first = trainers[0]
    turns = _turns(first.epoch_steps, first.plan.epochs, len(trainers))
    if not first.is_over:
        yield from _judgement_missing(first.plan, bundle)
        while first.epoch < first.plan.epochs and not first.has_lost_patience:
            yield from _epoch(trainers, bundle, turns)
            if checkpoint.is_due and first.epoch < first.plan.epochs:
                yield from _kept(trainers, checkpoint)
        for trainer in trainers:
            trainer.settle()
        yield from _kept(trainers, checkpoint)
    yield from _ending(trainers, bundle.judging)
    return TrainedTogether(tuple(trainer.finished() for trainer in trainers), turns * first.epoch)


def _kept(trainers: Sequence[Trainer], checkpoint: Checkpoint) -> Iterator[Note]:
    """Write the checkpoint; the first time that this fails it is said, and the training goes on without."""
    said = checkpoint.has_failed
    try:
        checkpoint.write([trainer.state_dict() for trainer in trainers])
    except OSError as error:
        if not said:
            why = error.strerror or type(error).__name__
            text = f"A checkpoint could not be written ({why}): if this training is cut short, it begins anew."
            yield Note(text=text, warning=True)


def _epoch(trainers: Sequence[Trainer], bundle: ModelBundle, turns: Sequence[int]) -> Steps[None]:
    """One epoch of all, in these turns."""
    earlier = trainers[0].epoch * len(turns)
    for number, steps in enumerate(turns, start=earlier):
        for trainer in trainers[:: -1 if number % 2 else 1]:
            yield from trainer.turn(steps, among=trainers)
            if trainer.done % trainer.epoch_steps == 0:
                yield from trainer.judged(bundle)


def _turns(epoch_steps: int, epochs: int, trainees: int) -> tuple[int, ...]:
    """Steps of each turn of an epoch; one that trains alone has only one."""
    longest = epoch_steps if trainees == 1 else -(-epoch_steps // -(-_TURNS // epochs))
    full, rest = divmod(epoch_steps, longest)
    return (longest,) * full + ((rest,) if rest else ())


def _resumed(trainers: Sequence[Trainer], checkpoint: Checkpoint) -> Note:
    """Take the trainers to where the checkpoint is, or leave them as they are; what was done, in words."""
    before: list[dict[str, Any]] = [copy.deepcopy(trainer.state_dict()) for trainer in trainers]
    try:
        for trainer, state in zip(trainers, checkpoint.read(), strict=True):
            trainer.load_state_dict(state)
    except UNUSABLE as error:
        for trainer, state in zip(trainers, before, strict=True):
            trainer.load_state_dict(state)
        why = str(error).partition("\n")[0][:100] or type(error).__name__
        return Note(text=f"A checkpoint could not be used ({why}): this training begins anew.", warning=True)
    first = trainers[0]
    if first.is_over:
        return Note(text=f"This training of {first.epoch} epochs was complete before; a checkpoint has its outcome.")
    return Note(text=f"Goes on at epoch {first.epoch + 1} of {first.plan.epochs}, from a checkpoint.")


def _judgement_missing(plan: Plan, bundle: ModelBundle) -> Iterator[Note]:
    """Say so where epochs should be compared and there is nothing to compare them by."""
    if (plan.keep == "best" or plan.patience) and not (bundle.data.calibrate.labels >= 0).any():
        text = "Without labelled calibration images no epoch can be told to be the best: the last one is kept."
        yield Note(text=text, warning=True)


def _ending(trainers: Sequence[Trainer], judging: Judging) -> Steps[None]:
    """Which epoch was kept and why it ended early, where either is not what is usual."""
    first = trainers[0]
    plan, best = first.plan, first.best
    if first.has_lost_patience and best:
        done = sum(each.done for each in trainers)
        yield Progress(done=done, total=done, unit="steps", doing=f"ended after epoch {first.epoch} of {plan.epochs}")
        yield Note(
            text=f"Training ended after epoch {first.epoch} of {plan.epochs}: since epoch {best.epoch}, with "
            f"{_share(best.right.mean())} of the calibration {judging.unit} {judging.right}, none was better."
        )
    if plan.keep == "best" and best and best.epoch != first.epoch:
        yield Note(
            text=f"The weights of epoch {best.epoch} were kept ({_share(best.right.mean())} of the calibration "
            f"{judging.unit} {judging.right}), not those of the last."
        )


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"
