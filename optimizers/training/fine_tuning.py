"""Fine-tuning in reduced precision, beside FP32 where that is compared. Imports torch: inside functions only."""

from __future__ import annotations

from dataclasses import replace

from core.bundle import ModelBundle
from core.progress import Note, Steps
from core.quantization import TrainingComparison
from optimizers.technique import Context
from optimizers.training.footprint import MEMORY_LABELS
from optimizers.training.loop import Plan, TrainedTogether, train_together
from optimizers.training.trainer import Trained


def fine_tuned(bundle: ModelBundle, context: Context, plan: Plan, *, compares: bool) -> Steps[ModelBundle]:
    """The bundle with its network fine-tuned; with `compares`, the same steps in FP32 stand in its `training`."""
    plans = (plan, replace(plan, precision="fp32")) if compares else (plan,)
    done = yield from train_together(bundle.module, bundle, context, plans)
    ours = done.each[0]
    if ours.run.skipped_steps:
        yield Note(
            text=f"{ours.run.skipped_steps} of {len(ours.run.losses)} steps were skipped while the loss scale was too "
            "high: that is how it finds its place."
        )
    training = _comparison(done, context) if compares else None
    return replace(bundle, network=ours.network, training=training)


def _comparison(done: TrainedTogether, context: Context) -> TrainingComparison:
    ours, theirs = done.each
    return TrainingComparison(
        runs=(ours.run, theirs.run),
        turns=done.turns,
        only_first_right=_only(ours, theirs),
        only_second_right=_only(theirs, ours),
        memory_label=MEMORY_LABELS[context.device.kind],
    )


def _only(one: Trained, other: Trained) -> int:
    """Images that only the one gets right."""
    return int((one.right & ~other.right).sum())
