from __future__ import annotations

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
        events = worker._events(store, record, lambda event: None)
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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadInput("a ratio of 1.5", expected="less"), "a ratio of 1.5; expected less."),
        (MemoryError(), "ran out of memory"),
        (RuntimeError("std::bad_alloc"), "ran out of memory"),
        (OSError(28, "No space left on device"), "disk is full"),
        (KeyError("x\nTraceback"), "nobody foresaw (KeyError"),
    ],
)
def test_every_death_has_one_sentence(error: Exception, words: str) -> None:
    sentence = worker._sentence(error)
    assert words in sentence
    assert "\n" not in sentence
