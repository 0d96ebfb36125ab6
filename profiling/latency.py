"""How long one call takes, with every timed call kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from core.data import Inputs
from core.packed import Numbers, Packed, PackedField
from core.progress import Metric, Progress, Steps
from profiling.statistics import Interval, blocked_quantile_interval, quantile_interval
from profiling.subject import Subject

WARMUP_MS = 300.0
BLOCK_MS = 60.0
FEWEST_BLOCKS = 20
SETTLED_SPREAD = 0.02
"""Blocks stop early once the interquartile range of their medians is below this share of the median."""
CONTENDED_SHARE = 0.05
REPORT_SECONDS = 0.3


class Latency(BaseModel):
    """Timed calls on one batch, in the blocks in which they were made."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    samples: Annotated[Packed, PackedField("<u4", 10_000)]
    """Every timed call in ms, to 0.1 microseconds, in the order they were made."""
    block_sizes: Annotated[Packed, PackedField("<u4")]
    """How many calls each block has, in the same order."""
    warmup_ms: float
    first_call_ms: float
    """The very first call: allocation, autotuning, late compilation. Not among the timed ones."""
    contended_share: float | None
    """Share of its runnable time in which this process waited for a core; None where the system does not tell."""

    @model_validator(mode="before")
    @classmethod
    def _read_nested(cls, values: Any) -> Any:
        """Accept `blocks_ms`, the calls of each block as a nested list: the form of results stored by version 0.1."""
        if isinstance(values, dict) and "blocks_ms" in values:
            rest = {name: value for name, value in values.items() if name != "blocks_ms"}
            blocks = values["blocks_ms"]
            return rest | {"samples": list(chain.from_iterable(blocks)), "block_sizes": list(map(len, blocks))}
        return values

    @property
    def samples_ms(self) -> Numbers:
        """float64 [N]: all timed calls in the order they were made."""
        return self.samples.array

    @property
    def blocks_ms(self) -> list[Numbers]:
        """The same calls, block by block."""
        return np.split(self.samples_ms, np.cumsum(self.block_sizes.integers)[:-1])

    @property
    def p50_ms(self) -> float:
        """The median call."""
        return float(np.median(self.samples_ms))

    @cached_property
    def p50_interval_ms(self) -> Interval | None:
        """95 % interval by drawing whole blocks, because calls beside each other are too alike; None below 6 blocks."""
        return blocked_quantile_interval(self.blocks_ms, 0.5)

    @property
    def p90_ms(self) -> float | None:
        """None when n is too small, like the two below."""
        return self._tail(0.90)

    @property
    def p95_ms(self) -> float | None:
        """Needs 72 calls."""
        return self._tail(0.95)

    @property
    def p99_ms(self) -> float | None:
        """Needs 368 calls."""
        return self._tail(0.99)

    @property
    def throughput_per_s(self) -> float:
        """Images a second at the median, one call after the other."""
        return 1000 * self.batch_size / self.p50_ms

    @property
    def spread(self) -> float:
        """Interquartile range over the median, of all calls."""
        return _spread(self.samples_ms)

    @property
    def is_contended(self) -> bool:
        """Whether other work on this machine took enough time to doubt the figures."""
        return self.contended_share is not None and self.contended_share > CONTENDED_SHARE

    def interval_ms(self, quantile: float) -> Interval | None:
        """95 % interval of a quantile from single calls, or None when n is too small."""
        return quantile_interval(self.samples_ms, quantile)

    def _tail(self, quantile: float) -> float | None:
        return float(np.quantile(self.samples_ms, quantile)) if self.interval_ms(quantile) else None


def measure_latency(session: Subject, x: Inputs, *, seconds: float = 3.0) -> Steps[Latency]:
    """Time calls on x[N, C, H, W] in blocks until their medians agree, for at most `seconds`.

    After MLPerf and torch's adaptive_autorange: warm up by time, not by count; time every call; stop on the spread.
    Events are passed on only between blocks, and the call that follows such a pause is not timed.
    """
    infer = session.bind(x)
    first_call_ms = _time_ms(infer)
    warmup_ms = first_call_ms + sum(_block(infer, WARMUP_MS))
    blocks: list[tuple[float, ...]] = []
    started = reported = time.monotonic()
    clock_before = scheduler_clock()
    while not _is_enough(blocks, time.monotonic() - started, seconds):
        blocks.append(_block(infer, BLOCK_MS))
        if time.monotonic() - reported > REPORT_SECONDS:
            yield Metric(name="latency_ms", value=float(np.median(blocks[-1])), step=len(blocks))
            yield Progress(done=min(seconds, time.monotonic() - started), total=seconds, unit="seconds", doing="timing")
            reported = time.monotonic()
            infer()
    return Latency(
        batch_size=len(x),
        samples=Packed.of(chain.from_iterable(blocks), "<u4", 10_000),
        block_sizes=Packed.of(map(len, blocks), "<u4"),
        warmup_ms=round(warmup_ms, 4),
        first_call_ms=first_call_ms,
        contended_share=contended_share_between(clock_before, scheduler_clock()),
    )


def _is_enough(blocks: list[tuple[float, ...]], elapsed: float, seconds: float) -> bool:
    if elapsed >= seconds:
        return bool(blocks)
    return len(blocks) >= FEWEST_BLOCKS and _spread([float(np.median(block)) for block in blocks]) < SETTLED_SPREAD


def _block(infer: Callable[[], None], lasting_ms: float) -> tuple[float, ...]:
    """Calls in ms, one after the other, until together they took that long; at least one."""
    calls: list[float] = []
    with _no_garbage_collection():
        total = 0.0
        while total < lasting_ms:
            calls.append(_time_ms(infer))
            total += calls[-1]
    return tuple(calls)


def _time_ms(infer: Callable[[], None]) -> float:
    before = time.perf_counter_ns()
    infer()
    return round((time.perf_counter_ns() - before) / 1e6, 4)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _spread(values: Sequence[float] | Numbers) -> float:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float((high - low) / middle)


def scheduler_clock() -> tuple[int, int] | None:
    """ns that the threads of this process have run, and ns that they were ready but waited for a core (Linux)."""
    ran = waited = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            run_ns, wait_ns, _ = map(int, path.read_text().split())
        except (OSError, ValueError):  # the thread has ended, or this kernel keeps no such statistics
            continue
        ran, waited = ran + run_ns, waited + wait_ns
    return (ran, waited) if ran else None


def contended_share_between(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """Share of its runnable time between two readings of `scheduler_clock` in which this process waited for a core."""
    if before is None or after is None:
        return None
    ran, waited = (max(0, b - a) for a, b in zip(before, after, strict=True))
    return waited / (ran + waited) if ran + waited else 0.0
