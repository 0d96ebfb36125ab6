"""From a recipe on screen to runs in the queue."""

from __future__ import annotations

import os

import pytest

from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.store import Store
from experiments.training_on import is_control
from optimizers import TECHNIQUES
from tests.experiments.recipes import TRAINED
from ui.queue import cancel, enqueue, enqueue_missing, live_runs

INT8 = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")


def queued(store: Store) -> list[tuple[str, int]]:
    """Runtime and number of techniques of each waiting run, the next one first."""
    return [(record.recipe.runtime, len(record.recipe.techniques)) for record in store.queue()]


def test_a_recipe_is_queued_between_its_baseline_and_its_reference(store: Store) -> None:
    run_id = enqueue(store, INT8)
    assert queued(store) == [("pytorch", 0), ("onnxruntime", 1), ("onnxruntime", 0)]
    record = store.run(run_id)
    assert record
    assert record.recipe == INT8


def test_references_that_are_known_are_not_measured_again_unless_asked(store: Store) -> None:
    enqueue(store, INT8)
    enqueue(store, INT8)
    assert queued(store)[3:] == [("onnxruntime", 1)]
    enqueue(store, INT8, measure_again=True)
    assert queued(store)[4:] == [("pytorch", 0), ("onnxruntime", 1), ("onnxruntime", 0)]


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_reference_that_did_not_finish_is_measured_again(store: Store, end: str) -> None:
    enqueue(store, INT8)
    for record in store.queue():
        store.fail(record.id, "broken") if end == "fail" else store.cancel(record.id)
    enqueue(store, INT8)
    assert len(queued(store)) == 3


def test_missing_runs_are_queued_once_and_never_when_finished_or_at_work(store: Store) -> None:
    recipes = [INT8, *(INT8.model_copy(update={"seed": seed}) for seed in (1, 2, 3))]
    waiting = store.enqueue(recipes[0])
    running = store.begin_here(recipes[1])
    store.fail(store.enqueue(recipes[2]), "broken")
    assert {digest: run.id for digest, run in live_runs(store, recipes).items()} == {
        recipes[0].digest: waiting, recipes[1].digest: running,
    }  # fmt: skip
    queued_now = [store.run(run_id) for run_id in enqueue_missing(store, recipes)]
    assert [record.recipe for record in queued_now if record] == recipes[2:]
    assert enqueue_missing(store, recipes) == []
    assert set(live_runs(store, recipes)) == {recipe.digest for recipe in recipes}


def test_runs_of_other_recipes_are_none_of_the_missing_ones(store: Store) -> None:
    store.enqueue(INT8)
    assert live_runs(store, [INT8.model_copy(update={"seed": 1})]) == {}


def test_cancelling_a_variant_withdraws_what_waits_only_for_it(store: Store) -> None:
    run_id = enqueue(store, INT8)
    cancel(store, store.run(run_id))  # type: ignore[arg-type]
    assert queued(store) == []


def test_what_another_run_needs_and_what_runs_already_stays(store: Store) -> None:
    first = enqueue(store, INT8)
    enqueue(store, INT8.model_copy(update={"techniques": (TECHNIQUES["int8"](calibration_images=64),)}))
    cancel(store, store.run(first))  # type: ignore[arg-type]
    assert queued(store) == [("pytorch", 0), ("onnxruntime", 0), ("onnxruntime", 1)]
    (baseline, *_), second = store.queue(), store.queue()[-1]
    store.claim(baseline.id, os.getpid())
    cancel(store, second)
    assert queued(store) == []
    assert not store.run(baseline.id).cancel_requested  # type: ignore[union-attr]


def test_cancelling_a_reference_leaves_its_variant(store: Store) -> None:
    enqueue(store, INT8)
    cancel(store, store.queue()[-1])
    assert queued(store) == [("pytorch", 0), ("onnxruntime", 1)]


def test_a_control_is_withdrawn_with_the_run_that_it_is_for(store: Store) -> None:
    trained = from_yaml(TRAINED)
    run_id = enqueue(store, trained)
    assert [is_control(each.recipe) for each in store.queue()] == [False, False, True]
    store.claim(store.queue()[0].id, os.getpid())
    store.claim(run_id, os.getpid())
    cancel(store, store.run(run_id))  # type: ignore[arg-type]
    assert store.run(run_id).cancel_requested  # type: ignore[union-attr]
    assert store.queue() == []
