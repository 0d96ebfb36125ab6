from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from core.progress import Metric, Note, PhaseStarted
from experiments.recipe import Recipe
from experiments.store import Store, data_folder

RECIPE = Recipe(model="resnet_fmnist", seed=3)


def test_a_run_goes_through_its_states(store: Store) -> None:
    run_id = store.enqueue(RECIPE)
    assert store.run(run_id).state == "queued"
    assert store.claim(run_id, os.getpid())
    assert store.finish(run_id, {"answer": 42})
    record = store.run(run_id)
    assert (record.state, record.result, record.recipe) == ("finished", {"answer": 42}, RECIPE)
    assert record.created_at <= record.started_at <= record.ended_at


def test_only_one_of_many_claims_succeeds(store: Store) -> None:
    run_id = store.enqueue(RECIPE)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: store.claim(run_id, os.getpid()), range(8)))
    assert sum(claims) == 1


def test_an_ended_run_keeps_its_state(store: Store) -> None:
    run_id = store.begin_here(RECIPE)
    store.finish(run_id, {})
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


def test_the_database_is_in_wal_mode(store: Store) -> None:
    store.enqueue(RECIPE)
    import sqlite3

    assert sqlite3.connect(data_folder() / "studio.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)
