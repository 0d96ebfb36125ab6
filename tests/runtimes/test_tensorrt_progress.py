"""A builder's nested phases as one count."""

from __future__ import annotations

import pytest

from core.progress import Event, Progress
from runtimes.tensorrt_progress import BuildProgress


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_outermost_phase_counts_and_the_innermost_is_named() -> None:
    events: list[Event] = []
    clock = Clock()
    progress = BuildProgress(events.append, clock)

    def last() -> tuple[float, float, str]:
        event = events[-1]
        assert isinstance(event, Progress)
        return event.done, event.total, event.doing

    progress.start("Building", 4)
    assert last() == (0, 4, "Building")
    for phase, steps in (("Timing", 2), ("Timing nodes", 10)):
        clock.now += 1
        progress.start(phase, steps)
    assert last() == (0, 4, "Timing nodes")
    clock.now += 1
    progress.step("Timing nodes", 4)
    done, _, doing = last()
    assert done == pytest.approx(5 / 10 / 2)  # half of the first of two steps of the first of four
    assert doing == "Timing nodes"
    progress.finish("Timing nodes")
    clock.now += 1
    progress.step("Timing", 0)
    assert last() == (pytest.approx(1 / 2), 4, "Timing")
    progress.finish("Timing")
    progress.finish("Building")
    assert last() == (4, 4, "Building")


def test_it_reports_at_most_five_times_a_second() -> None:
    events: list[Event] = []
    clock = Clock()
    progress = BuildProgress(events.append, clock)
    progress.start("Building", 1000)
    for step in range(1000):
        clock.now = step / 500
        progress.step("Building", step)
    assert 8 <= len(events) <= 11


def test_a_phase_that_nobody_began_is_passed_over() -> None:
    events: list[Event] = []
    progress = BuildProgress(events.append)
    progress.step("never begun", 3)
    progress.finish("never begun")
    assert not events
