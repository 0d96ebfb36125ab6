"""Two finished runs timed against each other, in turns.

Timings of one and the same artifact differ from start to start and from minute to minute, so two variants measured one
after the other prove little. A duel serves both at the same time, each in a fresh process of its own, and the first
twice: the second copy is the control, which shows what no difference looks like here and now. Each round times a short
block of every process, in random order, while the other two sleep: slow changes of the machine reach all three alike,
and regular ones favour none (randomised multiple interleaved trials: Abedi and Brecht, ICPE 2017). Several times in a
duel all three start afresh, because processes of one artifact differ for as long as they live, by where the system put
their memory (Mytkowicz and others, ASPLOS 2009), and no number of rounds averages that away.

From the medians of its blocks a round gives two ratios: how many times faster the control was than the first, and how
many times faster the second was than the geometric mean of both copies of the first. For equal processes the two are
uncorrelated, so a lucky or unlucky copy cannot show in both at once. The medians of the rounds' ratios are reported
with bootstrap intervals that draw starts, and whole rounds within them, because calls beside each other and rounds of
one start are too alike to count as independent (Kalibera and Jones, ISMM 2013). The second is called faster or slower
only if

    1. the 95 % interval of its ratio excludes 1,
    2. the ratio is beyond 3 %, and
    3. the ratio is beyond that end of the control's interval which lies farther from 1.

The last asks for more than the first on a restless machine, and where starts are more unlike than the few that a duel
has can show. The control's interval is then wide, or lies off 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.devices import Device
from core.progress import Metric, PhaseStarted, Progress, Steps
from experiments.server import Block, ServedArtifact
from profiling.latency import CONTENDED_SHARE, REPORT_SECONDS
from profiling.machine import Conditions, conditions
from profiling.statistics import SMALLEST_SPEEDUP, median_interval
from runtimes.runtime import Artifact

PHASES = ("Open", "A/B")

Role = Literal["first", "control", "second"]
Verdict = Literal["faster", "slower", "no measurable difference"]
ROLES: tuple[Role, ...] = ("first", "control", "second")


class Duel(BaseModel):
    """Which two runs, and how long to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str
    """Id of the run that is the reference."""
    second: str
    """Id of the run of which it is asked whether it is faster."""
    rounds: int = Field(40, ge=20, le=200)
    """Each times both variants and the control once. More rounds make up for a restless machine."""
    starts: int = Field(4, ge=2, le=10)
    """How often all processes start anew. Two starts of one file can differ by a per cent or more; the fewer there are,
    the less is known of that."""
    block_ms: float = Field(60, ge=20, le=500)
    """How long a variant is timed before it is the next one's turn."""
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @property
    def rounds_per_start(self) -> int:
        """The rounds shared out, as many to each start and at least as many as asked for in all."""
        return math.ceil(self.rounds / self.starts)


class Round(BaseModel):
    """The median call of one block of each process."""

    model_config = ConfigDict(frozen=True)

    first_ms: float
    control_ms: float
    second_ms: float
    order: tuple[Role, Role, Role]
    start: int = 0
    """Which of the starts its processes come from."""
    contended_share: float | None = None
    """Share of their runnable time in which the processes waited for a core; None where the system does not tell."""

    @property
    def log_ratio(self) -> float:
        """Logarithm of how many times faster the second was than the geometric mean of both copies of the first."""
        return math.log(self.first_ms * self.control_ms) / 2 - math.log(self.second_ms)

    @property
    def log_a_over_a(self) -> float:
        """Logarithm of how many times faster the control was than the first."""
        return math.log(self.first_ms / self.control_ms)


@dataclass(frozen=True)
class Ratio:
    """How many times faster, with its 95 % interval; above 1 is faster."""

    value: float
    low: float
    high: float


class DuelResult(BaseModel):
    """Every round, and what follows from them."""

    model_config = ConfigDict(frozen=True)

    duel: Duel
    batch_size: int
    rounds: tuple[Round, ...]
    """In the order they were played; equally many from each start."""
    conditions: Conditions

    @cached_property
    def ratio(self) -> Ratio:
        """How many times faster the second is than the first."""
        return self._median(lambda each: each.log_ratio)

    @cached_property
    def a_over_a(self) -> Ratio:
        """How many times faster the control is than the first, of which it is a copy."""
        return self._median(lambda each: each.log_a_over_a)

    @property
    def smallest_ratio(self) -> float:
        """What a ratio, or its reciprocal, has to exceed in this duel to be called a difference."""
        return max(SMALLEST_SPEEDUP, self.a_over_a.high, 1 / self.a_over_a.low)

    @property
    def verdict(self) -> Verdict:
        """What may be said of the second."""
        if self.ratio.low > 1 and self.ratio.value > self.smallest_ratio:
            return "faster"
        if self.ratio.high < 1 and 1 / self.ratio.value > self.smallest_ratio:
            return "slower"
        return "no measurable difference"

    @property
    def sentence(self) -> str:
        """The verdict with its figures."""
        ratio = self.ratio
        if self.verdict == "faster":
            return f"{ratio.value:.2f}x faster (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"
        if self.verdict == "slower":
            return f"{1 / ratio.value:.2f}x slower (95 % interval {1 / ratio.high:.2f} to {1 / ratio.low:.2f})"
        measured = f"{ratio.value:.3f} times as fast, 95 % interval {ratio.low:.3f} to {ratio.high:.3f}"
        return f"{self.verdict} ({measured}; here it takes more than {self.smallest_ratio:.3f})"

    @property
    def contended_share(self) -> float | None:
        """The mean of the rounds' shares; None where the system does not tell."""
        return _mean([each.contended_share for each in self.rounds])

    @property
    def is_contended(self) -> bool:
        """Whether other work on this machine took enough time to widen the intervals."""
        return self.contended_share is not None and self.contended_share > CONTENDED_SHARE

    def _median(self, log: Callable[[Round], float]) -> Ratio:
        starts = [[log(each) for each in rounds] for _, rounds in groupby(self.rounds, lambda each: each.start)]
        low, high = median_interval(starts, seed=self.duel.seed)
        return Ratio(math.exp(np.median(starts)), math.exp(low), math.exp(high))


class Server(Protocol):
    """What a duel needs of a `ServedArtifact`."""

    def block(self, lasting_ms: float) -> Block:
        """Timed calls."""


def run_duel(
    duel: Duel,
    first: Artifact,
    second: Artifact,
    device: Device,
    *,
    threads: int,
    batch_size: int,
    slowdown: float = 0.0,
) -> Steps[DuelResult]:
    """Let three processes take turns, started afresh several times. Raises `RunFailed` when one of them fails.

    Events come between rounds only: phases, progress in rounds and the metric `ratio` so far. `slowdown` stretches the
    second's calls by that share of their duration, to try the method on a known difference.
    """
    serve = partial(ServedArtifact, device=device, threads=threads, batch_size=batch_size)
    rounds: tuple[Round, ...] = ()
    yield PhaseStarted(title=PHASES[0])
    for start in range(duel.starts):
        with ExitStack() as stack:
            served: dict[Role, ServedArtifact] = {
                "first": stack.enter_context(serve(first)),
                "control": stack.enter_context(serve(first)),
                "second": stack.enter_context(serve(second, slowdown=slowdown)),
            }
            yield _progress(duel, rounds, "starting the processes")
            for each in served.values():
                each.opened()
            if start == 0:
                yield PhaseStarted(title=PHASES[1], timed=True)
            rounds = yield from take_turns(duel, served, rounds)
    here_and_now = conditions(device, threads=threads, seed=duel.seed)
    return DuelResult(duel=duel, batch_size=batch_size, rounds=rounds, conditions=here_and_now)


def take_turns(duel: Duel, servers: Mapping[Role, Server], before: Sequence[Round] = ()) -> Steps[tuple[Round, ...]]:
    """The rounds of the starts before, and those of one more, whose processes are `servers`."""
    rounds, start = list(before), len(before) // duel.rounds_per_start
    generator = np.random.default_rng((duel.seed, start))
    reported = time.monotonic()
    for _ in range(duel.rounds_per_start):
        order = tuple(ROLES[place] for place in generator.permutation(len(ROLES)))
        blocks = {role: servers[role].block(duel.block_ms) for role in order}
        rounds.append(_round(blocks, start))
        if time.monotonic() - reported > REPORT_SECONDS:
            so_far = math.exp(np.median([each.log_ratio for each in rounds]))
            yield Metric(name="ratio", value=so_far, step=len(rounds))
            yield _progress(duel, rounds, "timing")
            reported = time.monotonic()
    return tuple(rounds)


def _round(blocks: Mapping[Role, Block], start: int) -> Round:
    """What becomes of three blocks, given in the order in which they were timed."""
    medians = {f"{role}_ms": float(np.median(block.calls_ms)) for role, block in blocks.items()}
    share = _mean([block.contended_share for block in blocks.values()])
    return Round.model_validate(medians | {"order": tuple(blocks), "start": start, "contended_share": share})


def _progress(duel: Duel, rounds: Sequence[Round], doing: str) -> Progress:
    total = duel.starts * duel.rounds_per_start
    return Progress(done=len(rounds), total=total, unit="rounds", doing=doing)


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return float(np.mean(told)) if told else None
