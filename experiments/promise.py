"""What an advice promises of its recipe, and whether the recipe kept it once it was run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from core.judging import LABELLED, Judging
from experiments.measures import MEASURES
from experiments.profile import ProfileResult
from experiments.result import Summary
from experiments.why_format import count, ms
from profiling.statistics import wilson_interval

Measure = Literal["p50_ms", "throughput_per_s", "size_bytes", "parameter_count", "macs", "accuracy"]
AT_LEAST: tuple[Measure, ...] = ("throughput_per_s", "accuracy")
"""Measures of which more is promised; of the others less."""
TIMED: tuple[Measure, ...] = ("p50_ms", "throughput_per_s")
BYTES_FP32 = 4
_TEXTS: Mapping[Measure, Callable[[float], str]] = {
    "p50_ms": lambda value: f"{value:#.3g} ms" if 0.001 <= value < 99.5 else ms(value),
    "throughput_per_s": lambda value: f"{value:,.0f} images/s",
    "size_bytes": MEASURES["size"].text,
    "parameter_count": lambda value: f"{count(round(value))} parameters",
    "macs": lambda value: f"{count(round(value))} multiply-accumulates",
    "accuracy": MEASURES["accuracy"].text,
}
Verdict = Literal["kept", "broken", "unclear"]


@dataclass(frozen=True)
class Promise:
    """A bound on one measure of the variant that a recipe makes."""

    measure: Measure
    ratio: float
    """Of the measure's value before; the bound itself."""
    words: str
    """`at most 0.45 ms instead of 0.646 ms`."""
    basis: str
    """How the bound was computed, in a sentence or two."""

    @property
    def is_least(self) -> bool:
        """Whether at least so much is promised, not at most."""
        return self.measure in AT_LEAST

    @property
    def worth(self) -> float:
        """The share that goes: of time, bytes or work; of the time of an image where throughput is promised."""
        return 1 - 1 / self.ratio if self.is_least else 1 - self.ratio


@dataclass(frozen=True)
class Figure:
    """A measured value, with its 95 % interval where it has one; the value itself where it is exact."""

    value: float
    low: float
    high: float


Figures = Mapping[Measure, Figure]
"""What is known of a variant; a measure that is not known is missing."""


@dataclass(frozen=True)
class Outcome:
    """What became of a promise."""

    verdict: Verdict
    sentence: str


def promised(measure: Measure, ratio: float, before: Figure | None, basis: str) -> Promise:
    """A promise, in words that hold the value before where it is known."""
    bound = "at least" if measure in AT_LEAST else "at most"
    bare = Promise(measure, ratio, f"{bound} {ratio:.2f} times as much as before", basis)
    return replace(bare, words=in_words(bare, before) or bare.words)


def in_words(promise: Promise, before: Figure | None) -> str:
    """`at most 0.45 ms instead of 0.646 ms`, counted from that value; empty without one."""
    if before is None:
        return ""
    text, bound = _TEXTS[promise.measure], "at least" if promise.is_least else "at most"
    return f"{bound} {text(promise.ratio * before.value)} instead of {text(before.value)}"


def figures_of(summary: Summary) -> Figures:
    """What a finished run measured."""
    low_ms, high_ms = summary.p50_low_ms or summary.p50_ms, summary.p50_high_ms or summary.p50_ms
    accuracy_low, accuracy_high = wilson_interval(summary.correct, summary.total)
    return {
        **_timed(summary.p50_ms, low_ms, high_ms, summary.batch_size),
        "size_bytes": _exact(summary.size_bytes),
        "parameter_count": _exact(summary.parameter_count),
        "macs": _exact(summary.macs),
        "accuracy": Figure(summary.accuracy, accuracy_low, accuracy_high),
    }


def figures_of_profile(result: ProfileResult) -> Figures:
    """What a profile alone knows; the size of a file it gives as that of all weights in FP32."""
    low_ms, high_ms = result.latency.p50_interval_ms or (result.latency.p50_ms, result.latency.p50_ms)
    known = _timed(result.latency.p50_ms, low_ms, high_ms, result.latency.batch_size)
    if result.anatomy and result.anatomy.parameters:
        parameters = result.anatomy.parameters
        known |= {"parameter_count": _exact(parameters), "macs": _exact(result.anatomy.macs)}
        known |= {"size_bytes": _exact(BYTES_FP32 * parameters)} if result.precision == "fp32" else {}
    return known


def outcome(
    promise: Promise, before: Figures, after: Figures, *, judging: Judging = LABELLED, is_disturbed: bool = False
) -> Outcome:
    """Whether a promise was kept: unclear where the intervals of what was measured reach across the bound.

    `is_disturbed` says that other work on the machine took time from either of them: then no time is judged.
    """
    start, reached = before.get(promise.measure), after.get(promise.measure)
    text, bound = _TEXTS[promise.measure], "at least" if promise.is_least else "at most"
    if start is None or reached is None:
        return Outcome("unclear", "What it is compared with was not measured: nothing can be said of the promise.")
    limit = text(promise.ratio * start.value)
    measured = f"Promised: {bound} {limit}; measured: {text(reached.value)}"
    if is_disturbed and promise.measure in TIMED:
        return Outcome(
            "unclear", f"{measured}, while other work disturbed the timing. Run it again on a quiet machine."
        )
    verdict = _verdict(promise, start, reached)
    words = {"kept": "kept", "broken": "not kept", "unclear": "too close to call within the 95 % intervals"}[verdict]
    return Outcome(verdict, f"{measured}, {words}.{_accuracy_in_words(promise, before, after, judging)}")


def _accuracy_in_words(promise: Promise, before: Figures, after: Figures, judging: Judging) -> str:
    """What became of the accuracy, of which most promises say nothing."""
    start, reached = before.get("accuracy"), after.get("accuracy")
    if promise.measure == "accuracy" or start is None or reached is None:
        return ""
    text = _TEXTS["accuracy"]
    return f" {judging.title}: {text(start.value)} before, {text(reached.value)} after."


def _verdict(promise: Promise, start: Figure, reached: Figure) -> Verdict:
    low, high = promise.ratio * start.low, promise.ratio * start.high
    beyond, short = reached.low >= high, reached.high < low
    if promise.is_least:
        return "kept" if beyond else "broken" if short else "unclear"
    return "kept" if reached.high <= low else "broken" if reached.low > high else "unclear"


def _timed(p50_ms: float, low_ms: float, high_ms: float, batch_size: int) -> dict[Measure, Figure]:
    images = 1000 * batch_size
    return {
        "p50_ms": Figure(p50_ms, low_ms, high_ms),
        "throughput_per_s": Figure(images / p50_ms, images / high_ms, images / low_ms),
    }


def _exact(value: float) -> Figure:
    return Figure(value, value, value)
