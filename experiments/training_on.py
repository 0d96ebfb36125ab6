"""What training on alone would have gained: variants that TensorFlow fine-tuned beside FP32 that was fine-tuned too.

A variant that was pruned, clustered or quantized while it trained has seen more epochs than the untouched network. Its
reference is a control: the same network trained on in FP32 (`experiments.references.fine_tuned_control`). One training
is not like several that differ, and not every control is as long: what is unlike is said wherever they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.compare import accuracy_verdict
from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.references import CONTROL
from experiments.result import RunResult
from experiments.run_record import RunRecord
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
    differences: tuple[str, ...]
    """What else the control had otherwise, as `differences` has it."""
    total: Change
    """From the baseline to the variant."""
    training: Change
    """From the baseline to the control: what training on alone does."""
    technique: Change
    """From the control to the variant: what is left for the technique itself."""

    @property
    def length(self) -> str:
        """Of the control's training: `5 epochs`, `50 of the variant's 80 epochs`, `6 epochs instead of 5`."""
        if self.control_epochs < self.epochs:
            return f"{self.control_epochs} of the variant's {_epochs(self.epochs)}"
        instead = f" instead of {self.epochs}" if self.control_epochs > self.epochs else ""
        return _epochs(self.control_epochs) + instead

    @property
    def unlike(self) -> str:
        """All in which the control was not trained as the variant was; empty if there is nothing."""
        return "; ".join(((self.length,) if self.control_epochs != self.epochs else ()) + self.differences)

    @property
    def sentence(self) -> str:
        """The variant's change of accuracy, how much of it training on alone explains, and what is unlike in that."""
        unlike = f" That control had {'; '.join(self.differences)}." if self.differences else ""
        return (
            f"{self.total.text} against the baseline. Training on in FP32 alone, for {self.length}: "
            f"{self.training.text}. Against that control: {self.technique.text}.{unlike}"
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
    """The control whose epochs are nearest to the recipe's, and of several the one most like it.

    All are of the same network in the same runtime. None without any, and for a recipe that does not train.
    """
    if not was_trained(recipe):
        return None
    alike = [each for each in records if is_control(each.recipe) and _is_alike(each.recipe, recipe)]
    return min(alike, key=lambda each: _unlikeness(each.recipe, recipe), default=None)


def _unlikeness(control: Recipe, recipe: Recipe) -> tuple[int, int]:
    return abs(epochs_of(control) - epochs_of(recipe)), len(_otherwise(control, recipe))


def differences(control: Recipe, recipe: Recipe) -> tuple[str, ...]:
    """In what, but for its epochs, a control was not trained as the recipe trains; empty if both were trained alike.

    That it had one training in place of several, the highest of several learning rates, and what else it had otherwise:
    `training batch 64 instead of 64 and 128`.
    """
    number, rates = len(_trainings(recipe)), _values(recipe, "learning_rate")
    other = _otherwise(control, recipe)
    is_highest = len(rates) > 1 and _values(control, "learning_rate") == [max(rates)]
    return (
        *((f"one training instead of {number}",) if number > 1 else ()),
        *(("the highest of the variant's learning rates",) if is_highest else ()),
        *((", ".join(other),) if other else ()),
    )


def _otherwise(control: Recipe, recipe: Recipe) -> list[str]:
    """Each setting of the control's training, and its seed, that some training of the recipe did not have."""
    found = []
    for name, field in type(control.techniques[0]).model_fields.items():
        ours, theirs = _values(control, name), _values(recipe, name)
        wanted = [max(theirs)] if name == "learning_rate" else theirs
        if name != "epochs" and ours != wanted:
            found.append(_instead(str(field.title).lower(), ours, theirs))
    return found + ([_instead("seed", [control.seed], [recipe.seed])] if control.seed != recipe.seed else [])


def _instead(title: str, ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    return f"{title} {ours[0]} instead of {' and '.join(map(str, theirs))}"


def _trainings(recipe: Recipe) -> list[Any]:
    """The techniques that train, in their order."""
    return [technique for technique in recipe.techniques if technique.key in (CONTROL, *TRAINED)]


def _values(recipe: Recipe, name: str) -> list[Any]:
    """The different ones that a setting has in the recipe's trainings, in their order."""
    return list(dict.fromkeys(getattr(technique, name) for technique in _trainings(recipe)))


def _is_alike(control: Recipe, recipe: Recipe) -> bool:
    return (control.model, control.runtime, control.settings) == (recipe.model, recipe.runtime, recipe.settings)


def trained_on(records: Sequence[RunRecord], results: Mapping[str, RunResult]) -> list[TrainedOn]:
    """One for each of the runs that was trained on and whose baseline and control are among them, in their order."""
    baselines = {each.recipe.model: each for each in reversed(records) if each.recipe.is_baseline}
    found = []
    for record in records:
        base, control = baselines.get(record.recipe.model), control_of(record.recipe, records)
        if base and control:
            before, alone, after = (results[each.id].accuracy for each in (base, control, record))
            found.append(
                TrainedOn(
                    run_id=record.id,
                    control_id=control.id,
                    epochs=epochs_of(record.recipe),
                    control_epochs=epochs_of(control.recipe),
                    differences=differences(control.recipe, record.recipe),
                    total=Change.between(before, after),
                    training=Change.between(before, alone),
                    technique=Change.between(alone, after),
                )
            )
    return found


def without_control(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those of the runs that were trained on and whose control is not among them."""
    return [each for each in records if was_trained(each.recipe) and control_of(each.recipe, records) is None]
