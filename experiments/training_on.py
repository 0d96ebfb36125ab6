"""What training on alone would have gained: variants that TensorFlow fine-tuned beside an equally fine-tuned FP32.

A variant that was pruned, clustered or quantized while it trained has seen more epochs than the untouched network. Its
fair reference is a control: the same network trained on in FP32 for as many epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.compare import accuracy_verdict
from experiments.measures import NO_DIFFERENCE
from experiments.recipe import CONTROL, Recipe, fine_tuned_control
from experiments.result import RunResult
from experiments.store import RunRecord
from profiling.accuracy import Accuracy

TRAINED = ("keras_pruning", "keras_clustering", "keras_qat")
"""Techniques that train on while they change the network."""


@dataclass(frozen=True)
class Change:
    """A difference of accuracy on the same examples."""

    points: float
    verdict: str
    """`-0.30 points` or no measurable difference, by McNemar's exact test."""

    @classmethod
    def between(cls, before: Accuracy, after: Accuracy) -> Change:
        """From the first to the second."""
        return cls(100 * (after.value - before.value), accuracy_verdict(before, after))

    @property
    def text(self) -> str:
        """`-0.30 points`, or `+0.10 points (no measurable difference)`."""
        return f"{self.points:+.2f} points ({NO_DIFFERENCE})" if self.verdict == NO_DIFFERENCE else self.verdict


@dataclass(frozen=True)
class TrainedOn:
    """A variant, its control, and what each changed."""

    run_id: str
    control_id: str
    epochs: int
    """Of all techniques of the variant that train."""
    control_epochs: int
    total: Change
    """From the baseline to the variant."""
    training: Change
    """From the baseline to the control: what training on alone does."""
    technique: Change
    """From the control to the variant: what is left for the technique itself."""
    is_equal: bool = True
    """Whether both were trained on alike: for as many epochs, with the same batch and the highest learning rate."""

    @property
    def sentence(self) -> str:
        """The variant's change of accuracy, and how much of it training on alone explains."""
        unequal = f" The variant, trained for {_epochs(self.epochs)}, was not trained in quite the same way."
        return (
            f"{self.total.text} against the baseline. Training on in FP32 alone, for {_epochs(self.control_epochs)}: "
            f"{self.training.text}. Against that control: {self.technique.text}.{'' if self.is_equal else unequal}"
        )


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def is_control(recipe: Recipe) -> bool:
    """Whether nothing was done to the network but training it on in FP32."""
    return [technique.key for technique in recipe.techniques] == [CONTROL]


def was_trained(recipe: Recipe) -> bool:
    """Whether a technique trained the network on while it changed it, so that it has a control."""
    return any(technique.key in TRAINED for technique in recipe.techniques)


def epochs_of(recipe: Recipe) -> int:
    """Epochs of all techniques together."""
    return sum(int(getattr(technique, "epochs", 0)) for technique in recipe.techniques)


def control_of(recipe: Recipe, records: Sequence[RunRecord]) -> RunRecord | None:
    """The control that is trained as the recipe is, or that whose epochs are nearest; None without any.

    All are of the same network in the same runtime.
    """
    alike = [each for each in records if is_control(each.recipe) and _is_alike(each.recipe, recipe)]
    return min(alike, key=lambda each: _unlikeness(each.recipe, recipe), default=None)


def _unlikeness(control: Recipe, recipe: Recipe) -> tuple[bool, int]:
    return not is_equal(control, recipe), abs(epochs_of(control) - epochs_of(recipe))


def is_equal(control: Recipe, recipe: Recipe) -> bool:
    """Whether the control was trained as `experiments.recipe.fine_tuned_control` has it."""
    wanted = fine_tuned_control(recipe)
    return wanted is not None and wanted.digest == control.digest


def _is_alike(control: Recipe, recipe: Recipe) -> bool:
    return (control.model, control.runtime, control.settings) == (recipe.model, recipe.runtime, recipe.settings)


def trained_on(records: Sequence[RunRecord], results: Mapping[str, RunResult]) -> list[TrainedOn]:
    """One for each of the runs that was trained on and whose baseline and control are among them, in their order."""
    baselines = {each.recipe.model: each for each in reversed(records) if each.recipe.is_baseline}
    found = []
    for record in records:
        base, control = baselines.get(record.recipe.model), control_of(record.recipe, records)
        if was_trained(record.recipe) and base and control:
            before, alone, after = (results[each.id].accuracy for each in (base, control, record))
            found.append(
                TrainedOn(
                    run_id=record.id,
                    control_id=control.id,
                    epochs=epochs_of(record.recipe),
                    control_epochs=epochs_of(control.recipe),
                    total=Change.between(before, after),
                    training=Change.between(before, alone),
                    technique=Change.between(alone, after),
                    is_equal=is_equal(control.recipe, record.recipe),
                )
            )
    return found


def without_control(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those of the runs that were trained on and whose control is not among them."""
    return [each for each in records if was_trained(each.recipe) and control_of(each.recipe, records) is None]
