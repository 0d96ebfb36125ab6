"""How far a loop is, said now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator

from core.progress import Progress

EVERY_S = 0.3


class Pace:
    """Yields the progress of a loop over `total` things, at most every `EVERY_S` seconds."""

    def __init__(self, total: int, unit: str, doing: str) -> None:
        self.total, self.unit, self.doing = total, unit, doing
        self._last = time.monotonic()

    def at(self, done: int) -> Iterator[Progress]:
        """The event to pass on, or nothing where the last one is not long ago."""
        if done >= self.total or time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            yield Progress(done=done, total=self.total, unit=self.unit, doing=self.doing)
