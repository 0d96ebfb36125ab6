"""A clock by which only those who sleep let time pass, so that no test of times depends on what else a machine does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import pytest


class Clock:
    """What a module knows as `time`."""

    def __init__(self) -> None:
        self._now_ns = 1_000_000_000_000

    def sleep(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)

    def perf_counter_ns(self) -> int:
        return self._now_ns

    def perf_counter(self) -> float:
        return self._now_ns / 1e9

    def monotonic(self) -> float:
        return self._now_ns / 1e9


def stop_clocks(patch: pytest.MonkeyPatch, test: str, modules: Sequence[ModuleType]) -> Clock:
    """One clock for these modules and the test of that name, until the patch is undone."""
    clock = Clock()
    for module in (*modules, sys.modules[test]):
        patch.setattr(module, "time", clock)
    return clock
