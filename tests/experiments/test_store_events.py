from __future__ import annotations

import os
import subprocess
import sys

from core.progress import Metric, Note, PhaseStarted
from experiments.recipe import Recipe
from experiments.store import Store

RECIPE = Recipe(model="resnet_fmnist", seed=3)


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


def test_writers_in_several_processes_lose_nothing(store: Store) -> None:
    run_id = store.enqueue(RECIPE)
    script = (
        "from experiments.store import open_store; from core.progress import Note\n"
        f"store = open_store()\nfor n in range(50): store.append({run_id!r}, [Note(text=str(n))])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script], env=os.environ) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(store.events(run_id)) == 150
