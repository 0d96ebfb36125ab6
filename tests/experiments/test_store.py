from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

from core.folders import data_folder
from core.progress import Note
from experiments.recipe import Recipe
from experiments.store import Store
from tests.pages.left_behind import finished, measured

RECIPE = Recipe(model="resnet_fmnist", seed=3)
VARIANT = Recipe(model="resnet_fmnist", seed=3, runtime="onnxruntime")


def test_a_run_goes_through_its_states(store: Store) -> None:
    run_id = store.enqueue(RECIPE)
    assert store.run(run_id).state == "queued"
    assert store.claim(run_id, os.getpid())
    result = measured(RECIPE, wrong=30, p50_ms=2.0, size_bytes=1000)
    assert store.finish(run_id, result)
    record = store.run(run_id)
    assert (record.state, record.summary, record.recipe) == ("finished", result.summary(), RECIPE)
    assert store.result(run_id) == result
    assert record.created_at <= record.started_at <= record.ended_at


def test_only_one_of_many_claims_succeeds(store: Store) -> None:
    run_id = store.enqueue(RECIPE)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: store.claim(run_id, os.getpid()), range(8)))
    assert sum(claims) == 1


def test_an_ended_run_keeps_its_state(store: Store) -> None:
    run_id = store.begin_here(RECIPE)
    store.finish(run_id, measured(RECIPE, wrong=1, p50_ms=1.0, size_bytes=1000))
    assert not store.fail(run_id, "too late")
    assert not store.cancel(run_id)
    assert store.run(run_id).state == "finished"


def test_cancelling_ends_a_queued_run_and_marks_a_running_one(store: Store) -> None:
    queued, running = store.enqueue(RECIPE), store.begin_here(RECIPE)
    store.request_cancel(queued)
    store.request_cancel(running)
    assert store.run(queued).state == "cancelled"
    assert store.run(running).state == "running"
    assert store.run(running).cancel_requested


def test_delete_forgets_ended_runs_only(store: Store) -> None:
    live, ended = store.enqueue(RECIPE), store.enqueue(RECIPE)
    store.request_cancel(ended)
    store.append(ended, [Note(text="gone soon")])
    store.append(live, [Note(text="stays")])
    store.delete(ended)
    store.delete(live)
    assert store.run(ended) is None
    assert store.events(ended) == []
    assert store.run(live).state == "queued"
    assert len(store.events(live)) == 1


def test_deleting_a_finished_run_forgets_its_result(store: Store) -> None:
    run_id = finished(store, RECIPE)
    store.delete(run_id)
    assert store.result(run_id) is None
    assert store.runs() == []


def test_a_variant_keeps_its_slot_and_the_baseline_has_none(store: Store) -> None:
    ids = [store.enqueue(recipe) for recipe in (VARIANT, RECIPE, VARIANT.model_copy(update={"seed": 9}), VARIANT)]
    store.request_cancel(ids[2])
    store.delete(ids[2])
    ids.append(store.enqueue(VARIANT.model_copy(update={"seed": 10})))
    slots = [record.slot for record in map(store.run, ids) if record]
    assert slots == [1, 0, 1, 2]


def test_the_database_is_in_wal_mode(store: Store) -> None:
    store.enqueue(RECIPE)
    assert sqlite3.connect(data_folder() / "studio.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)
