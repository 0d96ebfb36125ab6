"""What a recipe is compared with: the baseline, the untouched model in its own runtime, and a control trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import CannotCompose
from experiments.checking import why_refused
from experiments.models import baseline_runtime, untouched_title
from experiments.recipe import Recipe
from optimizers import TECHNIQUES
from optimizers.technique import Technique
from runtimes import RUNTIMES

CONTROL = "keras_fine_tuning"
"""The technique of the control beside recipes that train a model of Keras."""


def in_runtime(recipe: Recipe, key: str) -> Recipe:
    """The same work for another runtime, with the settings its engine usually has, and without a name."""
    return recipe.model_copy(update={"name": "", "runtime": key, "engine": RUNTIMES[key].settings})


def baseline_of(recipe: Recipe) -> Recipe:
    """The untouched model measured the same way: in eager PyTorch, or in ONNX Runtime where it is an ONNX graph."""
    return in_runtime(recipe.model_copy(update={"techniques": ()}), baseline_runtime(recipe.model))


def baseline_title(model: str) -> str:
    """What every variant of the model is compared with, in words: `FP32 in PyTorch`."""
    return f"{untouched_title(model)} in {RUNTIMES[baseline_runtime(model)].title}"


def reference_of(recipe: Recipe) -> Recipe:
    """The untouched model in the recipe's own runtime: what the techniques alone are compared with."""
    return recipe.model_copy(update={"name": "", "techniques": ()})


def fine_tuned_control(recipe: Recipe) -> Recipe | None:
    """The untouched model trained on in FP32, in one training, in the recipe's own runtime.

    Of models of Keras whose recipe trains: what a technique gained or cost is told from what the training alone did.
    It has the sum of the recipe's epochs, at the highest of its learning rates, all else as its first training, and its
    seed: `experiments.training_on` says in what that is not how the recipe trains. None for any other recipe, and where
    the model cannot be trained on.
    """
    plain = TECHNIQUES.get(CONTROL)
    trainings = [each for each in recipe.techniques if plain and each.takes == plain.takes and hasattr(each, "epochs")]
    if plain is None or not trainings:
        return None
    technique = _as_long_as(plain, trainings)
    control = reference_of(recipe).model_copy(update={"techniques": (technique,)})
    named = control.model_copy(update={"name": f"{control.title} (control)"})
    return None if why_refused(named, CannotCompose) else named


def _as_long_as(plain: type[Technique], trainings: Sequence[Any]) -> Technique:
    """One training in place of all of these."""
    shared = {name: getattr(trainings[0], name) for name in plain.model_fields if hasattr(trainings[0], name)}
    epochs = sum(each.epochs for each in trainings)
    rate = max(each.learning_rate for each in trainings)
    return plain.model_validate(shared | {"epochs": epochs, "learning_rate": rate})


def with_references(recipe: Recipe) -> list[Recipe]:
    """Baseline first, then the recipe, its reference and, where it trains a model of Keras, its control; each once.

    Alone what is built ahead: nothing is timed.
    """
    if recipe.engine.builds_ahead:
        return [recipe]
    control = fine_tuned_control(recipe)
    recipes = [baseline_of(recipe), recipe, reference_of(recipe), *([control] if control else [])]
    return list(({each.digest: each for each in recipes} | {recipe.digest: recipe}).values())
