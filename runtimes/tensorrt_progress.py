"""How far TensorRT's builder is, as events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from core.progress import Event, Progress

SECONDS_BETWEEN = 0.2


class BuildProgress:
    """The builder's phases, which lie within each other; knows nothing of TensorRT.

    `done` counts the steps of the outermost phase, a step that is under way as far as the phases within it are;
    `doing` is the innermost one. Reports at most five times a second and at the end. Phases come from several threads.
    """

    def __init__(self, report: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock, self._lock = report, clock, threading.Lock()
        self._open: dict[str, tuple[int, int]] = {}
        """Steps done and in all of every phase under way, the outermost first."""
        self._reported = float("-inf")

    def start(self, phase: str, steps: int) -> None:
        """A phase begins, within those that are under way."""
        with self._lock:
            self._open[phase] = (0, steps)
            self._tell()

    def step(self, phase: str, number: int) -> None:
        """The step of that number, counted from 0, is done."""
        with self._lock:
            if phase in self._open:
                self._open[phase] = (number + 1, self._open[phase][1])
                self._tell()

    def finish(self, phase: str) -> None:
        """A phase is over."""
        with self._lock:
            _, steps = self._open.pop(phase, (0, 0))
            if not self._open and steps:
                self._report(Progress(done=steps, total=steps, unit="steps", doing=phase))

    def _tell(self) -> None:
        now = self._clock()
        if now - self._reported < SECONDS_BETWEEN:
            return
        self._reported = now
        share = 0.0
        for done, steps in reversed(self._open.values()):
            share = min(1.0, (done + share) / steps)
        total = next(iter(self._open.values()))[1]
        self._report(Progress(done=share * total, total=total, unit="steps", doing=next(reversed(self._open))))


def monitor(trt: Any, progress: BuildProgress) -> Any:
    """TensorRT's `IProgressMonitor` that feeds it; has to live as long as the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()
