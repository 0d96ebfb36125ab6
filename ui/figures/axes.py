"""A measure as the axis of a figure: its values in its unit, logarithmic where they lie far apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from experiments.judging import of_frame
from experiments.measures import MEASURES, Measure, numbers
from experiments.measures import measure as named
from ui.figures.frame import WIDE_RANGE, log_ticks

SPARE = 0.07
"""Share of its length that an axis goes on beyond what is drawn."""
INTERVALS = {
    "accuracy": ("accuracy_low", "accuracy_high"),
    "p50": ("p50_low_ms", "p50_high_ms"),
    "p95": ("p95_low_ms", "p95_high_ms"),
    "energy": ("joules_low", "joules_high"),
}
"""Columns of the ends of a measure's 95 % interval."""


def number(value: float) -> str:
    """Three or four digits, which tell variants apart: `0.181`, `2.99`, `93.74`, `5,534`."""
    size = abs(value)
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:,.{decimals}f}"


def with_unit(measure: Measure, value: float) -> str:
    """A value of the measure's column as `93.74 %` or `0.181 ms`."""
    return "not measured" if math.isnan(value) else f"{number(value * measure.scale)} {measure.unit}"


def measured(frame: pd.DataFrame) -> list[str]:
    """The keys of the measures that at least one variant has."""
    return [key for key, measure in MEASURES.items() if measure.merit(frame).notna().any()]


@dataclass(frozen=True, eq=False)
class Axis:
    """One measure of these variants, in its unit. `Axis.of` makes it."""

    measure: Measure
    values: pd.Series[float]
    """In the measure's unit, like those below; NaN where it was not measured."""
    low: pd.Series[float]
    high: pd.Series[float]
    """Ends of the 95 % interval; the value itself where there is none."""
    limit: float | None = None
    """A budget that has to be on the axis."""

    @classmethod
    def of(cls, frame: pd.DataFrame, key: str, *, limit: float | None = None) -> Axis:
        """The axis of a measure; `limit` is in the unit of the measure's column."""
        measure = named(key, of_frame(frame))
        values = numbers(frame, measure.column) * measure.scale
        low, high = (ends.fillna(values) for ends in _interval(frame, key))
        return cls(measure, values, low, high, None if limit is None else limit * measure.scale)

    @property
    def has_interval(self) -> bool:
        """Whether any variant's interval is wider than nothing."""
        return bool((self.high > self.low).any())

    @cached_property
    def is_log(self) -> bool:
        """Whether the values are so far apart that only ratios can be seen."""
        low, high = self.values.min(), self.values.max()
        return self.measure.words is not None and low > 0 and high / low > WIDE_RANGE

    def coordinate(self, value: float) -> float:
        """Where plotly wants a range or an annotation on this axis."""
        return math.log10(value) if self.is_log else value

    @cached_property
    def range(self) -> tuple[float, float]:
        """Coordinates of both ends: around all values, intervals and the limit."""
        drawn = [self.low.min(), self.high.max(), *([] if self.limit is None else [self.limit])]
        if self.is_log:
            drawn = [value if value > 0 else float(self.values.min()) for value in drawn]
        low, high = (self.coordinate(float(end)) for end in (min(drawn), max(drawn)))
        spare = SPARE * (high - low) or 0.05 * abs(high) or 1.0
        return low - spare, high + spare

    def place(self, value: float) -> float:
        """How far along the axis a value lies: 0 at its beginning, 1 at its end."""
        low, high = self.range
        if self.is_log and value <= 0:
            return 0.0
        return (self.coordinate(value) - low) / (high - low)

    @property
    def worst(self) -> float:
        """The end of the axis, as a value, at which one has no wish to be."""
        end = self.range[self.measure.better == "less"]
        return float(10**end) if self.is_log else end

    @property
    def title(self) -> str:
        """What it shows, in which unit, and which way is better."""
        unit = f"{self.measure.unit}, logarithmic axis" if self.is_log else self.measure.unit
        better = "higher" if self.measure.better == "more" else "lower"
        return f"{self.measure.title} ({unit}) · {better} is better"

    def layout(self) -> dict[str, Any]:
        """What plotly needs to draw it."""
        look: dict[str, Any] = {"title": {"text": self.title}, "range": list(self.range), "zeroline": False}
        if not self.is_log:
            return look | {"ticksuffix": " %" if self.measure.unit == "%" else ""}
        ticks = log_ticks(*(10**end for end in self.range))
        return look | {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}


def _interval(frame: pd.DataFrame, key: str) -> tuple[pd.Series[float], pd.Series[float]]:
    """Both ends in the measure's unit, NaN where there are none."""
    low, high = INTERVALS.get(key, ("", ""))
    return numbers(frame, low) * MEASURES[key].scale, numbers(frame, high) * MEASURES[key].scale
