"""Two finished runs timed against each other, in turns.

Timings of one and the same artifact differ from start to start and from minute to minute, so two variants measured one
after the other prove little. A duel serves both at the same time, each in a fresh process of its own, and the first
twice: the second copy is the control, which shows what no difference looks like here and now. Each round times a short
block of every process, in random order, while the other two sleep: slow changes of the machine reach all three alike,
and regular ones favour none (randomised multiple interleaved trials: Abedi and Brecht, ICPE 2017).

From the medians of its blocks a round gives two ratios: how many times faster the control was than the first, and how
many times faster the second was than the geometric mean of both copies of the first. For equal processes the two are
uncorrelated, so a lucky or unlucky copy cannot show in both at once. The medians of the rounds' ratios are reported
with bootstrap intervals that draw whole rounds, because calls beside each other are too alike to count as independent
(ratios with intervals: Kalibera and Jones, ISMM 2013). The second is called faster or slower only if

    1. the 95 % interval of its ratio excludes 1,
    2. the ratio is beyond 3 %, and
    3. the ratio is beyond that end of the control's interval which lies farther from 1.

The third condition is for what no number of rounds averages away: processes of one artifact can differ for as long as
they live, by where the system put their memory (Mytkowicz and others, ASPLOS 2009). The control's interval then lies
off 1. On a restless machine the interval is wide, and asks for more than the first condition does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from core.devices import Device
from core.progress import Metric, PhaseStarted, Progress, Steps
from experiments.server import Block, ServedArtifact
from optimizers.technique import slider
from profiling.latency import CONTENDED_SHARE, REPORT_SECONDS
from profiling.machine import Conditions, conditions
from profiling.statistics import median_interval
from runtimes.runtime import Artifact

PHASES = ("Open", "A/B")
SMALLEST_RATIO = 1.03
"""Whatever differs by less is called no difference, however narrow the intervals: machines drift this much."""

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
    rounds: int = slider(
        40,
        low=20,
        high=200,
        step=10,
        title="Rounds",
        help="Each times both variants and the control once. Four times as many halve the interval.",
    )
    block_ms: float = slider(
        60,
        low=20,
        high=500,
        step=10,
        title="Time per block",
        unit="ms",
        help="How long a variant is timed before it is the next one's turn.",
        advanced=True,
    )
    seed: int = Field(0, ge=0, le=2**31 - 1)


class Round(BaseModel):
    """The median call of one block of each process."""

    model_config = ConfigDict(frozen=True)

    first_ms: float
    control_ms: float
    second_ms: float
    order: tuple[Role, Role, Role]

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
    contended_share: float | None
    """Share of their runnable time in which the processes waited for a core; None where the system does not tell."""
    conditions: Conditions

    @cached_property
    def ratio(self) -> Ratio:
        """How many times faster the second is than the first."""
        return self._median([each.log_ratio for each in self.rounds])

    @cached_property
    def a_over_a(self) -> Ratio:
        """How many times faster the control is than the first, of which it is a copy."""
        return self._median([each.log_a_over_a for each in self.rounds])

    @property
    def smallest_ratio(self) -> float:
        """What a ratio, or its reciprocal, has to exceed in this duel to be called a difference."""
        return max(SMALLEST_RATIO, self.a_over_a.high, 1 / self.a_over_a.low)

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
        by = f"{max(self.ratio.value, 1 / self.ratio.value):.2f}x "
        interval = f"95 % interval {self.ratio.low:.3f} to {self.ratio.high:.3f}"
        return f"{'' if self.verdict == 'no measurable difference' else by}{self.verdict} ({interval})"

    @property
    def is_contended(self) -> bool:
        """Whether other work on this machine took enough time to widen the intervals."""
        return self.contended_share is not None and self.contended_share > CONTENDED_SHARE

    def _median(self, logs: list[float]) -> Ratio:
        low, high = median_interval(logs, seed=self.duel.seed)
        return Ratio(math.exp(np.median(logs)), math.exp(low), math.exp(high))


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
    """Open three processes and let them take turns. Raises `RunFailed` with a sentence when one of them fails.

    Events come between rounds only: phases, progress in rounds and the metric `ratio` so far. `slowdown` stretches the
    second's calls by that share of their duration, to try the method on a known difference.
    """
    serve = partial(ServedArtifact, device=device, threads=threads, batch_size=batch_size)
    served: dict[Role, ServedArtifact] = {
        "first": serve(first),
        "control": serve(first),
        "second": serve(second, slowdown=slowdown),
    }
    yield PhaseStarted(title=PHASES[0])
    with ExitStack() as stack:
        for each in served.values():
            stack.enter_context(each)
        for done, each in enumerate(served.values()):
            yield Progress(done=done, total=len(served), unit="processes", doing="opening")
            each.opened()
        yield PhaseStarted(title=PHASES[1], timed=True)
        rounds, contended_share = yield from take_turns(duel, served)
    return DuelResult(
        duel=duel,
        batch_size=batch_size,
        rounds=rounds,
        contended_share=contended_share,
        conditions=conditions(device, threads=threads, seed=duel.seed),
    )


def take_turns(duel: Duel, servers: Mapping[Role, Server]) -> Steps[tuple[tuple[Round, ...], float | None]]:
    """All rounds, and the share of their runnable time in which the processes waited for a core."""
    generator = np.random.default_rng(duel.seed)
    rounds: list[Round] = []
    shares: list[float | None] = []
    reported = time.monotonic()
    while len(rounds) < duel.rounds:
        order = tuple(ROLES[place] for place in generator.permutation(len(ROLES)))
        blocks = {role: servers[role].block(duel.block_ms) for role in order}
        medians = {f"{role}_ms": float(np.median(block.calls_ms)) for role, block in blocks.items()}
        rounds.append(Round.model_validate(medians | {"order": order}))
        shares += [block.contended_share for block in blocks.values()]
        if time.monotonic() - reported > REPORT_SECONDS:
            so_far = math.exp(np.median([each.log_ratio for each in rounds]))
            yield Metric(name="ratio", value=so_far, step=len(rounds))
            yield Progress(done=len(rounds), total=duel.rounds, unit="rounds", doing="timing")
            reported = time.monotonic()
    told = [share for share in shares if share is not None]
    return tuple(rounds), float(np.mean(told)) if told else None
