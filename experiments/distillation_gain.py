"""What the teacher brought: pure functions of a distillation's report."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.distillation import DistillationReport
from profiling.statistics import SIGNIFICANCE, mcnemar_p

NO_GAIN = "no measurable gain"


@dataclass(frozen=True)
class Gain:
    """The same student with its teacher against without, in percentage points of the test images."""

    mean_points: float | None
    """Mean over seeds; None where no control was trained."""
    low_points: float | None
    """Student's 95 % interval of the mean; None below two seeds."""
    high_points: float | None
    seeds: int
    p_value: float | None
    """McNemar's exact p-value where there is one seed; None else."""

    @property
    def is_gain(self) -> bool:
        """Whether statistics say that the teacher helped."""
        return self._excludes_zero and (self.mean_points or 0) > 0

    @property
    def _excludes_zero(self) -> bool:
        if self.p_value is not None:
            return self.p_value < SIGNIFICANCE
        return self.low_points is not None and self.high_points is not None and self.low_points * self.high_points > 0

    @property
    def verdict(self) -> str:
        """`+0.90 points`, `no measurable gain`, or `not compared`."""
        if self.mean_points is None:
            return "not compared"
        return f"{self.mean_points:+.2f} points" if self._excludes_zero else NO_GAIN

    @property
    def sentence(self) -> str:
        """The verdict with what it rests on."""
        if self.mean_points is None:
            return "Not compared: no student was trained without the teacher, so that no gain can be told."
        is_loss = self._excludes_zero and self.mean_points < 0
        over = f"{'against' if is_loss else 'over'} the same student without the teacher"
        if self.p_value is not None:
            said = f"{self.mean_points:+.2f} points {over}" if self._excludes_zero else f"{NO_GAIN.capitalize()} {over}"
            difference = "" if self._excludes_zero else f"{self.mean_points:+.2f} points, "
            return f"{said} ({difference}one seed: no interval, McNemar's p {_p(self.p_value)})."
        interval = f"95 % interval {self.low_points:+.2f} to {self.high_points:+.2f}, {self.seeds} seeds"
        if self._excludes_zero:
            return f"{self.mean_points:+.2f} points {over} ({interval})."
        return f"{NO_GAIN.capitalize()} {over} ({self.mean_points:+.2f} points, {interval})."


def gain_of(report: DistillationReport) -> Gain:
    """The gain over the control; Student's t interval over seeds, or McNemar's test where there is one seed.

    With several seeds images are not resampled: the interval tells how the gain varies from one training to the next
    on these test images.
    """
    points = [100 * (each.taught_correct - each.alone_correct) / report.test_images for each in report.seeds]
    if not points:
        return Gain(None, None, None, 0, None)
    mean = float(np.mean(points))
    if len(points) == 1:
        only = report.seeds[0]
        return Gain(mean, None, None, 1, mcnemar_p(only.only_taught_right, only.only_alone_right))
    half = _half_width(points)
    return Gain(mean, mean - half, mean + half, len(points), None)


def _half_width(values: list[float]) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
