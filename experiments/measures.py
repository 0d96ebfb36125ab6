"""What variants can be traded for: the measures, and the variants that no other one beats in two of them.

Variants are rows of `experiments.compare.variants`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.judging import Judging
from profiling.statistics import SMALLEST_SPEEDUP

SAME = "no change"
NO_DIFFERENCE = "no measurable difference"
SPEED = ("faster", "slower")


@dataclass(frozen=True)
class Measure:
    """Something of which a variant can have more or less."""

    key: str
    title: str
    column: str
    unit: str
    scale: float
    """Multiplies a value of the column into the unit."""
    better: Literal["more", "less"]
    superlative: str
    words: tuple[str, str] | None = None
    """How a ratio is called that is better, and worse; None where differences count, in percentage points."""

    def merit(self, frame: pd.DataFrame) -> pd.Series[float]:
        """The column with its sign such that more is better; NaN where it was not measured."""
        return numbers(frame, self.column) * (1 if self.better == "more" else -1)

    def gain(self, value: float, than: float) -> float:
        """How much better `value` is: percentage points, or the logarithm of the ratio; these add up along a chain."""
        if self.words is None:
            return 100 * (value - than)
        if not (value > 0 and than > 0):
            return math.nan
        return math.log(value / than) * (1 if self.better == "more" else -1)

    def in_words(self, gain: float) -> str:
        """A gain as `-0.30 points`, `1.30x faster`, `0.21 % smaller` or no change.

        Times closer than machines drift are no measurable difference.
        """
        if math.isnan(gain):
            return "not measured"
        if self.words is None:
            return f"{gain:+.2f} points"
        percent = 100 * math.expm1(abs(gain))
        if percent < 1e-6:
            return SAME
        if self.words is SPEED and 1 + percent / 100 < SMALLEST_SPEEDUP:
            return NO_DIFFERENCE
        much = times(1 + percent / 100) if percent >= 1 else f"{percent:.2g} %"
        return f"{much} {self.words[gain < 0]}"

    def text(self, value: float) -> str:
        """A value of the column with its unit: `92.78 %`, `0.41 ms`."""
        return "not measured" if math.isnan(value) else f"{plain(value * self.scale)} {self.unit}"


MEASURES: dict[str, Measure] = {
    "accuracy": Measure("accuracy", "Accuracy", "accuracy", "%", 100, "more", "most accurate"),
    "p50": Measure("p50", "Latency p50", "p50_ms", "ms", 1, "less", "fastest at p50", SPEED),
    "p95": Measure("p95", "Latency p95", "p95_ms", "ms", 1, "less", "fastest at p95", SPEED),
    "throughput": Measure(
        "throughput",
        "Throughput, best batch",
        "best_throughput_per_s",
        "images/s",
        1,
        "more",
        "highest in throughput",
        SPEED,
    ),
    "size": Measure("size", "Size", "size_bytes", "MiB", 2**-20, "less", "smallest", ("smaller", "larger")),
    "gzip": Measure(
        "gzip",
        "Compressed size",
        "gzip_bytes",
        "MiB",
        2**-20,
        "less",
        "smallest when compressed",
        ("smaller", "larger"),
    ),
    "memory": Measure(
        "memory", "Memory", "memory_bytes", "MiB", 2**-20, "less", "lowest in memory", ("less memory", "more memory")
    ),
    "energy": Measure(
        "energy", "Energy", "joules", "mJ", 1000, "less", "lowest in energy", ("less energy", "more energy")
    ),
}


def measure(key: str, judging: Judging) -> Measure:
    """The measure of that key as it is called where examples are judged so: `Agreement` where they have no labels."""
    if key == "accuracy":
        return replace(MEASURES[key], title=judging.title, superlative=judging.superlative)
    return replace(MEASURES[key], unit=f"{judging.unit}/s") if key == "throughput" else MEASURES[key]


def numbers(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    """A column as floats; NaN for what is not a finite number, and for all rows where there is no such column."""
    if column not in frame:
        return pd.Series(math.nan, index=frame.index, dtype=float)
    found = pd.to_numeric(frame[column], errors="coerce").astype(float)
    return found.where(np.isfinite(found))


def unmeasured(frame: pd.DataFrame, *keys: str) -> pd.Series[bool]:
    """Which variants lack one of these measures, and so have no place in a plot of them."""
    lacking = [MEASURES[key].merit(frame).isna() for key in keys]
    return pd.Series(np.logical_or.reduce(lacking), index=frame.index, dtype=bool)


def front(frame: pd.DataFrame, x: str, y: str) -> pd.Series[bool]:
    """Which variants no other one matches in both measures and beats in one; `unmeasured` ones never are.

    Variants that are equal in both are all kept. Takes O(n log n).
    """
    gains = np.column_stack([MEASURES[key].merit(frame) for key in (x, y)]).astype(float)
    measured = np.flatnonzero(~np.isnan(gains).any(axis=1))
    kept = np.zeros(len(frame), bool)
    kept[measured] = _undominated(gains[measured])
    return pd.Series(kept, index=frame.index, dtype=bool)


def _undominated(gains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool [N] for gains[N, 2]: going down in the first, only a new best in the second is not dominated."""
    order = np.lexsort((-gains[:, 1], -gains[:, 0]))
    ordered = gains[order]
    best_before = np.maximum.accumulate(np.append(-np.inf, ordered[:-1, 1]))
    is_another = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(order)]
    first_of_equals = np.maximum.accumulate(np.where(is_another, np.arange(len(order)), 0))
    kept = np.empty(len(order), bool)
    kept[order] = (ordered[:, 1] > best_before[: len(order)])[first_of_equals]
    return kept


def times(ratio: float) -> str:
    """How many times as much, in three digits: `2.06x`, `27.7x`, `124x`."""
    decimals = 2 if ratio < 9.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{decimals}f}x"


def plain(value: float, *, up: bool = False) -> str:
    """A number with two decimals, or two digits where these would show less; `up` rounds away from zero."""
    if value == 0:
        return "0"
    decimals = max(2, 1 - math.floor(math.log10(abs(value))))
    if not up:
        return f"{value:.{decimals}f}"
    whole = math.ceil(abs(value) * 10**decimals - 1e-6)
    return f"{math.copysign(whole / 10**decimals, value):.{decimals}f}"
