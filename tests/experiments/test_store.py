from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core.folders import data_folder
from core.progress import Metric, Note, PhaseStarted
from experiments.recipe import MeasurementSettings, Recipe
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


def test_events_come_back_in_order_typed_and_after_a_point(store: Store) -> None:
    run_id, other = store.enqueue(RECIPE), store.enqueue(RECIPE)
    events = [PhaseStarted(title="Load"), Metric(name="loss", value=0.5, step=1, series="train"), Note(text="done")]
    store.append(run_id, events[:2])
    store.append(other, [Note(text="elsewhere")])
    store.append(run_id, events[2:])
    stored = store.events(run_id)
    assert [each.event for each in stored] == events
    assert [each.event for each in store.events(run_id, after=stored[0].id)] == events[1:]
    assert [each.event for each in store.events(run_id, kinds=["note"])] == events[2:]


def test_the_queue_is_first_in_first_out(store: Store) -> None:
    ids = [store.enqueue(RECIPE) for _ in range(3)]
    assert [record.id for record in store.queue()] == ids


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


def test_writers_in_several_processes_lose_nothing(store: Store) -> None:
    run_id = store.enqueue(RECIPE)
    script = (
        "from experiments.store import open_store; from core.progress import Note\n"
        f"store = open_store()\nfor n in range(50): store.append({run_id!r}, [Note(text=str(n))])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script], env=os.environ) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(store.events(run_id)) == 150


def test_deleting_a_finished_run_forgets_its_result(store: Store) -> None:
    run_id = finished(store, RECIPE)
    store.delete(run_id)
    assert store.result(run_id) is None
    assert store.runs() == []


def test_variants_are_the_newest_of_each_recipe_measured_alike_the_baseline_first(store: Store) -> None:
    finished(store, VARIANT)
    newest = finished(store, VARIANT)
    other = finished(store, VARIANT.model_copy(update={"seed": 9}))
    baseline = finished(store, RECIPE)
    later = finished(store, VARIANT.model_copy(update={"seed": 10}))
    finished(store, RECIPE.model_copy(update={"measurement": MeasurementSettings(batch_size=8)}))
    finished(store, Recipe(model="vit_fmnist"))
    found = store.variants("resnet_fmnist", RECIPE.settings, limit=9)
    assert [record.id for record in found] == [baseline, later, other, newest]
    assert [record.id for record in store.variants("resnet_fmnist", RECIPE.settings, limit=2)] == [baseline, later]
    assert store.measured()[0] == ("vit_fmnist", RECIPE.settings)
    assert len(store.measured()) == 3


def test_a_variant_keeps_its_slot_and_the_baseline_has_none(store: Store) -> None:
    ids = [store.enqueue(recipe) for recipe in (VARIANT, RECIPE, VARIANT.model_copy(update={"seed": 9}), VARIANT)]
    store.request_cancel(ids[2])
    store.delete(ids[2])
    ids.append(store.enqueue(VARIANT.model_copy(update={"seed": 10})))
    slots = [record.slot for record in map(store.run, ids) if record]
    assert slots == [1, 0, 1, 2]


def test_a_database_of_version_0_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """The tables as that version made them, with one finished and one failed run."""
    path = tmp_path / "old.db"
    result = measured(VARIANT, wrong=30, p50_ms=2.0, size_bytes=1000)
    plain = result.model_dump(mode="json", context={"plain": True})
    calls = [block.tolist() for block in result.latency.blocks_ms]
    latency = {name: value for name, value in plain["latency"].items() if name not in ("samples", "block_sizes")}
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_0_1)
        for run_id, recipe, content in (
            ("one", VARIANT, plain | {"latency": latency | {"blocks_ms": calls}}),
            ("two", RECIPE, None),
        ):
            row = (run_id, recipe.model_dump_json(), recipe.digest, recipe.model, "cpu", 1.0, json.dumps(content))
            old.execute("INSERT INTO runs VALUES (?,?,?,?,?,'finished',0,'h',1,1.0,?,1.0,1.0,NULL,NULL,?)", row)
    store = Store(f"sqlite:///{path}")
    record = store.run("one")
    assert record
    assert (record.slot, record.summary) == (1, result.summary())
    assert store.result("one") == result
    assert store.result("two") is None
    assert [each.id for each in store.variants("resnet_fmnist", VARIANT.settings, limit=5)] == ["one"]
    lost = store.run("two")
    assert lost
    assert (lost.state, lost.slot) == ("failed", 0)
    Store(f"sqlite:///{path}").close()


def test_digests_made_in_another_way_are_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    store = Store(f"sqlite:///{path}")
    ids = [store.enqueue(recipe) for recipe in (RECIPE, VARIANT)]
    store.close()
    with sqlite3.connect(path) as old:
        old.execute("UPDATE runs SET digest = 'of 0.2: ' || id")
    again = Store(f"sqlite:///{path}")
    assert [run.id for run in again.runs(digest=VARIANT.digest, limit=5)] == [ids[1]]
    assert [run.id for run in again.runs(digest=RECIPE.digest, limit=5)] == [ids[0]]


VERSION_0_1 = """
CREATE TABLE runs (id VARCHAR(32) NOT NULL PRIMARY KEY, recipe JSON NOT NULL, digest VARCHAR(16) NOT NULL,
    model VARCHAR(64) NOT NULL, device VARCHAR(32) NOT NULL, state VARCHAR(16) NOT NULL,
    cancel_requested BOOLEAN NOT NULL, host VARCHAR(255), pid INTEGER, process_started_at FLOAT,
    created_at FLOAT NOT NULL, started_at FLOAT, ended_at FLOAT, error TEXT, details TEXT, result JSON);
CREATE INDEX ix_runs_state ON runs (state);
CREATE TABLE events (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id VARCHAR(32) NOT NULL,
    kind VARCHAR(16) NOT NULL, content JSON NOT NULL, FOREIGN KEY(run_id) REFERENCES runs (id));
"""


def test_the_database_is_in_wal_mode(store: Store) -> None:
    store.enqueue(RECIPE)
    assert sqlite3.connect(data_folder() / "studio.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)
