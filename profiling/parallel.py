"""What a session answers a second with several requests in flight, and how long each of them waits."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.data import Inputs
from core.packed import Numbers, Packed, PackedField
from core.progress import Note, Progress, Steps
from profiling.latency import contended_share_between, scheduler_clock
from profiling.statistics import FEWEST_BLOCKS, Interval, quantile_interval
from profiling.subject import Subject

WARMUP_SECONDS = 0.5
BLOCKS = 20
"""Stretches of the time that count as independent, for the interval of the throughput."""
_DTYPE, _PER_MS = "<u4", 10_000

_Samples = Annotated[Packed, PackedField(_DTYPE, _PER_MS)]


@runtime_checkable
class Concurrent(Protocol):
    """A session that computes several requests at the same time."""

    @property
    def requests(self) -> int:
        """How many it keeps in flight."""

    def flood(self, x: Inputs, seconds: float) -> list[tuple[float, float]]:
        """Keep that many requests on x[N, C, H, W] in flight for so long.

        For each that was answered, in that order: when, in ms since the start, and how many ms it took.
        """


class Parallel(BaseModel):
    """Every request that was answered while others were in flight, in the order of their answers."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    requests: int
    """In flight at any time."""
    answered: _Samples
    """When, in ms to 0.1 microseconds since the last answer of the warm-up."""
    latencies: _Samples
    """From handing the request over to its answer, in ms."""
    contended_share: float | None
    """Share of its runnable time in which this process waited for a core; None where the system does not tell."""

    @property
    def throughput_per_s(self) -> float:
        """Images a second."""
        return 1000 * self.batch_size * len(self.answered) / float(self.answered.array[-1])

    @cached_property
    def throughput_interval_per_s(self) -> Interval | None:
        """95 % interval by drawing whole blocks of answers, as for a latency; None when n is too small."""
        each = max(1, len(self.answered) // BLOCKS)
        ends = self.answered.array[each - 1 :: each]
        if len(ends) < FEWEST_BLOCKS:
            return None
        drawn_ms = np.random.default_rng(0).choice(np.diff(ends, prepend=0.0), (1000, len(ends))).mean(axis=1)
        low, high = np.quantile(1000 * self.batch_size * each / drawn_ms, (0.025, 0.975))
        return float(low), float(high)

    @property
    def samples_ms(self) -> Numbers:
        """float64 [N]: the latency of each request under that load."""
        return self.latencies.array

    @property
    def p50_ms(self) -> float:
        """The median request."""
        return float(np.median(self.samples_ms))

    @property
    def p95_ms(self) -> float | None:
        """None below 72 requests."""
        return float(np.quantile(self.samples_ms, 0.95)) if quantile_interval(self.samples_ms, 0.95) else None


def measure_parallel(session: Subject, x: Inputs, *, seconds: float = 3.0) -> Steps[Parallel | None]:
    """Keep the session busy with x[N, C, H, W] for that long after a warm-up, by requests that overlap.

    None where it answers one request after the other, so that there is nothing to tell beyond its latency.
    """
    if not isinstance(session, Concurrent):
        return None
    if session.requests == 1:
        yield Note(text="One request is computed at a time here: more CPU threads or streams would let several overlap")
        return None
    yield Progress(done=0, total=seconds, unit="seconds", doing=f"timing {session.requests} requests in flight")
    clock_before = scheduler_clock()
    answers = session.flood(x, WARMUP_SECONDS + seconds)
    clock_after = scheduler_clock()
    at_ms, took_ms = np.array(sorted(answers)).T  # callbacks of two requests may overtake each other
    first, end = np.searchsorted(at_ms, (1000 * WARMUP_SECONDS, 1000 * (WARMUP_SECONDS + seconds)))
    if first == 0 or first == end:
        yield Note(text="The requests take too long to be timed several at once", warning=True)
        return None
    return Parallel(
        batch_size=len(x),
        requests=session.requests,
        # Those that were still under way at the end had the device more and more for themselves.
        answered=Packed.of(at_ms[first:end] - at_ms[first - 1], _DTYPE, _PER_MS),
        latencies=Packed.of(took_ms[first:end], _DTYPE, _PER_MS),
        contended_share=contended_share_between(clock_before, clock_after),
    )
