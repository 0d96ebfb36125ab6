"""What training in reduced precision gained or cost against FP32: pure functions of the comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.judging import Judging
from core.packed import Numbers
from core.quantization import TrainingComparison, TrainingRun
from experiments.duel import Ratio
from experiments.measures import NO_DIFFERENCE
from profiling.statistics import FEWEST_BLOCKS, SIGNIFICANCE, SMALLEST_SPEEDUP, mcnemar_p, median_interval

Pace = Literal["faster", "slower", "no measurable difference", "too few steps to tell"]


@dataclass(frozen=True)
class TrainingGain:
    """The chosen precision against FP32."""

    first: str
    """`BF16`."""
    samples_per_s: tuple[float, float]
    """Of both, after the warm-up."""
    ratio: Ratio | None
    """Samples per second of the first over those of FP32; None where the steps are too few for an interval."""
    memory_bytes: tuple[int, int]
    losses: tuple[float, float]
    """Means over the last tenth of the steps."""
    accuracies: tuple[float, float]
    """Shares of the validation images."""
    p_value: float
    """McNemar's, that both are equally accurate."""

    @property
    def pace(self) -> Pace:
        """What may be said of the speed."""
        if self.ratio is None:
            return "too few steps to tell"
        if self.ratio.low > 1 and self.ratio.value > SMALLEST_SPEEDUP:
            return "faster"
        return (
            "slower" if self.ratio.high < 1 and 1 / self.ratio.value > SMALLEST_SPEEDUP else "no measurable difference"
        )

    @property
    def pace_in_words(self) -> str:
        """`1.31 times the samples per second of FP32 (95 % interval 1.27 to 1.35)`, or first what else."""
        if self.ratio is None:
            return "too few steps to tell whether it is faster than FP32"
        low, high = self.ratio.low, self.ratio.high
        words = f"{self.ratio.value:.2f} times the samples per second of FP32 (95 % interval {low:.2f} to {high:.2f})"
        before = {"faster": "", "slower": "slower: "}.get(self.pace, "no measurable difference in speed: ")
        return before + words

    @property
    def memory_in_words(self) -> str:
        """`42 % less memory`."""
        more = 100 * (self.memory_bytes[0] / self.memory_bytes[1] - 1)
        return "as much memory" if abs(more) < 0.5 else f"{abs(more):.0f} % {'less' if more < 0 else 'more'} memory"

    @property
    def accuracy_verdict(self) -> str:
        """`+0.40 points` or no measurable difference, by McNemar's exact test on the same images."""
        points = 100 * (self.accuracies[0] - self.accuracies[1])
        return NO_DIFFERENCE if self.p_value >= SIGNIFICANCE else f"{points:+.2f} points"

    def sentence(self, judging: Judging) -> str:
        """All of it in one sentence."""
        first, second = (100 * accuracy for accuracy in self.accuracies)
        return (
            f"Training in {self.first}: {self.pace_in_words}; {self.memory_in_words}; validation {judging.noun} "
            f"{first:.2f} against {second:.2f} %, {self.accuracy_verdict} (McNemar)."
        )


def gain_of(comparison: TrainingComparison) -> TrainingGain:
    """What the comparison shows. The first turn of both, in which libraries set themselves up, is left out."""
    first, second = comparison.runs
    ours, theirs = (turn_pace(run, comparison)[1 if len(comparison.turns) > 1 else 0 :] for run in comparison.runs)
    return TrainingGain(
        first=first.precision.upper(),
        samples_per_s=(float(np.median(ours)), float(np.median(theirs))),
        ratio=_ratio(np.log(ours / theirs)),
        memory_bytes=(first.memory_bytes, second.memory_bytes),
        losses=(_last(first), _last(second)),
        accuracies=(first.correct / first.images, second.correct / second.images),
        p_value=mcnemar_p(comparison.only_first_right, comparison.only_second_right),
    )


def _last(run: TrainingRun) -> float:
    values = run.losses.array
    return float(values[-max(1, len(values) // 10) :].mean())


def turn_pace(run: TrainingRun, comparison: TrainingComparison) -> Numbers:
    """Images per second of the run in each turn."""
    return 1000 * run.batch_size / _turn_means(run.step_ms.array, comparison.turns)


def turn_losses(run: TrainingRun, comparison: TrainingComparison) -> Numbers:
    """Mean loss of the run in each turn."""
    return _turn_means(run.losses.array, comparison.turns)


def _turn_means(steps: Numbers, turns: tuple[int, ...]) -> Numbers:
    means: Numbers = np.add.reduceat(steps, np.cumsum((0, *turns[:-1]))) / np.asarray(turns)
    return means


def _ratio(log_ratios: Numbers) -> Ratio | None:
    """Turns played in pairs share what else went on, so that the ratio of each pair is one sample."""
    if len(log_ratios) < FEWEST_BLOCKS:
        return None
    low, high = median_interval([log_ratios.tolist()])
    return Ratio(math.exp(float(np.median(log_ratios))), math.exp(low), math.exp(high))


def smoothed(values: Numbers, window: int) -> Numbers:
    """The mean of each value and up to `window` - 1 before it, for a line that the eye can follow."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    means: Numbers = (sums[ends] - sums[np.maximum(0, ends - window)]) / np.minimum(ends, window)
    return means
