"""From a recipe on screen to runs in the queue."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.models import is_here, title_of
from experiments.recipe import Recipe
from experiments.references import with_references
from experiments.run_record import LIVE, RunRecord
from experiments.store import Store
from ui.identity import owner
from ui.live import family


def why_lost(recipe: Recipe) -> str:
    """Why what was run cannot be run again, in a sentence; empty where all of its models are still here."""
    gone = next((key for key in recipe.models if not is_here(key, owner())), "")
    return f"{title_of(gone, owner())} was deleted: what was measured is kept, but cannot be run again." if gone else ""


def enqueue(store: Store, recipe: Recipe, *, measure_again: bool = False) -> str:
    """Queue the recipe between its baseline and what else it is compared with; the recipe's own run id.

    What it is compared with is left out where it is measured already, or about to be, unless `measure_again`.
    """
    ids = {
        each.digest: store.enqueue(each)
        for each in with_references(recipe)
        if each.digest == recipe.digest or measure_again or not is_known(store, each)
    }
    return ids[recipe.digest]


def enqueue_again(store: Store, record: RunRecord) -> str:
    """Queue the same once more, with what it is compared with; its run id."""
    if record.study:
        return store.enqueue_study(record.study, record.recipe)
    return store.enqueue_duel(record.duel) if record.duel else enqueue(store, record.recipe)


def cancel(store: Store, record: RunRecord) -> None:
    """Cancel a run, and withdraw what waits only to be compared with it: queued with it, and needed by no other run."""
    store.request_cancel(record.id)
    wanted = {recipe.digest for recipe in with_references(record.recipe)} - {record.recipe.digest}
    waiting = [each for each in family(record, store) if each.state == "queued" and each.recipe.digest in wanted]
    ended = {record.id, *(each.id for each in waiting)}
    others = [each for each in store.runs(states=LIVE) if each.makes_variant and each.id not in ended]
    needed = {recipe.digest for each in others for recipe in with_references(each.recipe)}
    for each in waiting:
        if each.recipe.digest not in needed:
            store.request_cancel(each.id)


def enqueue_missing(store: Store, recipes: Iterable[Recipe]) -> list[str]:
    """Queue those of the recipes that have not finished, do not run and do not wait; their run ids."""
    return [store.enqueue(each) for each in recipes if not is_known(store, each)]


def live_runs(store: Store, recipes: Iterable[Recipe]) -> dict[str, RunRecord]:
    """The runs of these recipes that wait or run, by digest, the one that began first of each."""
    wanted = {recipe.digest for recipe in recipes}
    newest_first = [record for record in store.runs(states=LIVE) if record.makes_variant]
    return {each.recipe.digest: each for each in newest_first if each.recipe.digest in wanted}


def is_known(store: Store, recipe: Recipe) -> bool:
    """Whether exactly this recipe has finished, runs, or waits."""
    return bool(store.runs(states=("finished", *LIVE), digest=recipe.digest, limit=1))
