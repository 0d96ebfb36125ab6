"""From a recipe on screen to runs in the queue."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.recipe import Recipe, with_references
from experiments.store import LIVE, RunRecord, Store


def enqueue(store: Store, recipe: Recipe, *, measure_again: bool = False, with_control: bool = False) -> str:
    """Queue the recipe between its baseline and its reference, and its control if wanted; the recipe's own run id.

    What it is compared with is left out where it is measured already, or about to be, unless `measure_again`.
    """
    control = control_of(recipe) if with_control else None
    ids = {
        each.digest: store.enqueue(each)
        for each in (*with_references(recipe), *([control] if control else []))
        if each.digest == recipe.digest or measure_again or not is_known(store, each)
    }
    return ids[recipe.digest]


def enqueue_missing(store: Store, recipes: Iterable[Recipe]) -> list[str]:
    """Queue those of the recipes that have not finished, do not run and do not wait; their run ids."""
    return [store.enqueue(each) for each in recipes if not is_known(store, each)]


def live_runs(store: Store, recipes: Iterable[Recipe]) -> dict[str, RunRecord]:
    """The runs of these recipes that wait or run, by digest, the one that began first of each."""
    wanted = {recipe.digest for recipe in recipes}
    newest_first = [record for record in store.runs(states=LIVE) if record.duel is None]
    return {each.recipe.digest: each for each in newest_first if each.recipe.digest in wanted}


def is_known(store: Store, recipe: Recipe) -> bool:
    """Whether exactly this recipe has finished, runs, or waits."""
    return bool(store.runs(states=("finished", *LIVE), digest=recipe.digest, limit=1))


def control_of(recipe: Recipe) -> Recipe | None:
    """The recipe with its student trained on the labels alone (alpha 0), or None without a teacher.

    Only against this control can a gain be put down to the teacher.
    """
    techniques = tuple(
        technique.model_copy(update={"alpha": 0.0}) if technique.key == "distillation" else technique
        for technique in recipe.techniques
    )
    return None if techniques == recipe.techniques else recipe.model_copy(update={"name": "", "techniques": techniques})
