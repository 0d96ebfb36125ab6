from __future__ import annotations

import time

import pytest
from filelock import Timeout

from core.errors import BadInput
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


def test_an_event_that_none_follows_is_written_soon_but_nothing_is_while_something_is_timed(store: Store) -> None:
    run_id = store.begin_here(Recipe(model="student_dw_fmnist"))
    writer, written = worker._Writer(store, run_id), []
    for timed in (False, True):
        writer.add(PhaseStarted(title="A phase", timed=timed))
        writer.add(Note(text="The last for a while"))
        written.append(len(store.events(run_id, kinds=("note",))))
        time.sleep(2 * worker.FLUSH_SECONDS)
        written.append(len(store.events(run_id, kinds=("note",))))
    assert written == [0, 1, 1, 1]
    writer.flush()
    assert len(store.events(run_id, kinds=("note",))) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadInput("a ratio of 1.5", expected="less"), "a ratio of 1.5; expected less."),
        (OSError(28, "No space left on device"), "disk is full"),
        (KeyError("x\nTraceback"), "nobody foresaw (KeyError"),
    ],
)
def test_every_death_has_one_sentence(error: Exception, words: str) -> None:
    sentence = worker._sentence(error)
    assert words in sentence
    assert "\n" not in sentence
