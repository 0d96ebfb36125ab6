from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from filelock import Timeout

from core.progress import Failed, Note, PhaseStarted
from experiments import worker
from experiments.recipe import Recipe
from experiments.store import Store


def test_a_run_waits_for_a_device_that_another_process_holds(store: Store) -> None:
    record = store.run(store.begin_here(Recipe(model="student_dw_fmnist")))
    with worker._lock_of("cpu"):
        events = worker._events(store, record)
        first = next(events)
        assert isinstance(first, PhaseStarted)
        assert first.title == "Wait"
        note = next(events)
        assert isinstance(note, Note)
        assert "cpu" in note.text
    assert not isinstance(next(events), Failed)
    with pytest.raises(Timeout):
        worker._lock_of("cpu").acquire(blocking=False)
    events.close()
    worker._lock_of("cpu").acquire(blocking=False)


def test_an_event_that_none_follows_is_written_soon_but_nothing_is_while_something_is_timed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = store.begin_here(Recipe(model="student_dw_fmnist"))
    writer = worker._Writer(store, run_id)
    monkeypatch.setattr(worker, "FLUSH_SECONDS", 3600)
    writer.add(PhaseStarted(title="A phase"))
    writer.add(Note(text="One of many"))
    assert notes(store, run_id) == 0
    writer.flush()
    monkeypatch.setattr(worker, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: 0.0))  # however slow this machine is
    writer._flushed_at = 0.0
    writer.add(Note(text="The last for a while"))
    give_up = time.monotonic() + 60
    while notes(store, run_id) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    writer.add(PhaseStarted(title="Latency", timed=True))
    writer.add(Note(text="The last for a while"))
    time.sleep(0.3)
    assert notes(store, run_id) == 2
    writer.flush()
    assert notes(store, run_id) == 3


def notes(store: Store, run_id: str) -> int:
    return len(store.events(run_id, kinds=("note",)))
