"""The best variant within budgets, what stands in the way of a better one, and what a little more would buy.

Variants are rows of `experiments.compare.variants`, judged here by their point values: a difference that no statistics
confirm still decides, so a choice names those that are as fast as far as one can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from core.errors import BadInput
from core.judging import LABELLED, Judging
from experiments.compare import latency_verdict
from experiments.judging import of_frame
from experiments.measures import MEASURES, NO_DIFFERENCE, Measure, measure, numbers, plain
from experiments.recommendation import in_a_list

MOST_NAMED = 3
"""Equally fast variants that a sentence names; of more it tells how many."""


@dataclass(frozen=True)
class Budget:
    """Something of which a variant may spend at most so much."""

    key: str
    title: str
    unit: str
    scale: float
    measure: str

    def text(self, amount: float) -> str:
        """An amount that was needed or is missing, rounded up so that granting it is enough: `0.20 points`."""
        return f"{plain(amount * self.scale, up=True)} {self.unit}"


BUDGETS: dict[str, Budget] = {
    "points_lost": Budget("points_lost", "Accuracy lost", "points", 1, "accuracy"),
    "p50_ms": Budget("p50_ms", "Latency p50", "ms", 1, "p50"),
    "size_bytes": Budget("size_bytes", "Size", "MiB", 2**-20, "size"),
    "joules": Budget("joules", "Energy", "mJ", 1000, "energy"),
    "memory_bytes": Budget("memory_bytes", "Memory", "MiB", 2**-20, "memory"),
}


def budget(key: str, judging: Judging) -> Budget:
    """The budget of that key as it is called where examples are judged so: `Agreement lost` without labels."""
    return replace(BUDGETS[key], title=f"{judging.title} lost") if key == "points_lost" else BUDGETS[key]


@dataclass(frozen=True)
class Budgets:
    """The most a variant may spend; None is no limit."""

    points_lost: float | None = None
    """Percentage points of accuracy below the first baseline; negative asks for a gain."""
    p50_ms: float | None = None
    size_bytes: float | None = None
    joules: float | None = None
    memory_bytes: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The budgets that are set."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: float(value) for key, value in values.items() if value is not None}


def spent(frame: pd.DataFrame, key: str) -> pd.Series[float]:
    """What each variant spends of a budget, in the budget's own unit; NaN where that is not known.

    Points lost are counted from the table's first baseline; without one none are known.
    """
    if key != "points_lost":
        return numbers(frame, MEASURES[BUDGETS[key].measure].column)
    accuracy = numbers(frame, "accuracy")
    baselines = accuracy[_is_baseline(frame)]
    baseline = baselines.iloc[0] if len(baselines) else math.nan
    # Counts of images are exact; the rounding takes away what floats add to their differences.
    return (100 * (baseline - accuracy)).round(9)


def _is_baseline(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["is_baseline"].astype(bool)


@dataclass(frozen=True)
class ShadowPrice:
    """What a little more of one budget would buy: the next better variant that breaks this budget alone."""

    budget: str
    needed: float
    """Beyond the limit, in the budget's own unit."""
    gain: float
    """Of the objective over the chosen variant, as `Measure.gain` counts it."""
    objective: str
    run_id: str
    title: str

    @property
    def sentence(self) -> str:
        """`0.20 points more would buy 1.30x faster: Pruned 50 %.`"""
        bought = MEASURES[self.objective].in_words(self.gain)
        return f"{BUDGETS[self.budget].text(self.needed)} more would buy {bought}: {self.title}."


@dataclass(frozen=True)
class Miss:
    """The variant that comes nearest to a budget when none fits."""

    budget: str
    excess: float
    """Beyond the limit, in the budget's own unit."""
    run_id: str
    title: str
    fits_the_others: bool
    excludes_all: bool
    """Whether no variant keeps this budget, whatever the others are."""
    judging: Judging = LABELLED

    @property
    def sentence(self) -> str:
        """What it misses by, and whether granting that would be enough."""
        missed = budget(self.budget, self.judging)
        why = missed.title + (" alone excludes every variant" if self.excludes_all else "")
        enough = "and would then fit" if self.fits_the_others else "but breaks another budget too"
        return f"{why}: {self.title} comes nearest, needs {missed.text(self.excess)} more {enough}."


@dataclass(frozen=True)
class Choice:
    """The best variant within the budgets, and what stands in the way of a better one."""

    objective: str
    considered: int
    """Variants in the table."""
    fitting: int
    """Variants that keep every budget and whose objective was measured."""
    run_id: str | None = None
    title: str = ""
    value: float = math.nan
    as_fast: tuple[str, ...] = ()
    """Titles of the other variants that fit and are not measurably slower, the quickest first."""
    slack: dict[str, float] | None = None
    """What the chosen variant leaves of each budget, in the budget's own unit."""
    binding: tuple[ShadowPrice, ...] = ()
    """The budgets that a better variant breaks alone, in the order of `Budgets`."""
    is_best_of_all: bool = False
    """Whether no variant at all is better in the objective."""
    misses: tuple[Miss, ...] = ()
    """When nothing fits: the nearest to each budget that was measured and stands in the way."""
    unknown: tuple[str, ...] = ()
    """Sentences on what was not measured and therefore does not fit."""
    judging: Judging = LABELLED

    @property
    def sentences(self) -> list[str]:
        """The choice in plain words, the most important first."""
        return [*(self._found() if self.run_id else self._nothing()), *self.unknown]

    def _found(self) -> list[str]:
        sought = measure(self.objective, self.judging)
        number = f"of the {self.fitting} variants that fit" if self.fitting > 1 else "and the only variant that fits"
        first = f"{self.title} is the {sought.superlative} ({sought.text(self.value)}) {number}{self._tied()}."
        if self.binding:
            return [first, *(price.sentence for price in self.binding)]
        if self.is_best_of_all:
            return [first, "No budget binds: no variant is better."]
        return [first, "Every better variant breaks more than one budget, or one that was not measured for it."]

    def _tied(self) -> str:
        """`; Pruned 50 % is not measurably slower`, or nothing."""
        if not self.as_fast:
            return ""
        more = [f"{len(self.as_fast) - MOST_NAMED} more"] if len(self.as_fast) > MOST_NAMED else []
        named = in_a_list([*self.as_fast[:MOST_NAMED], *more])
        return f"; {named} {'is' if len(self.as_fast) == 1 else 'are'} not measurably slower"

    def _nothing(self) -> list[str]:
        if not self.considered:
            return ["No variant has been measured yet."]
        return [f"None of the {self.considered} variants fits.", *(miss.sentence for miss in self.misses)]


def choose(frame: pd.DataFrame, budgets: Budgets, objective: str = "p50") -> Choice:
    """The variant that is best in the objective among those within the budgets.

    Point values decide, also where statistics find no measurable difference. Of equally good variants the most accurate
    is taken, then the first. A variant for which a limited quantity was not measured does not fit. Raises `BadInput`
    for an objective that is not a measure.
    """
    if objective not in MEASURES:
        raise BadInput(f"The objective is {objective}", expected=" or ".join(MEASURES))
    judging = of_frame(frame)
    trial = _Trial(frame.reset_index(drop=True), measure(objective, judging), budgets.limits, judging)
    fitting = trial.fitting()
    if not fitting.any():
        found: dict[str, Any] = {"misses": trial.misses()}
    else:
        best = trial.best(fitting)
        found = {
            "run_id": trial.run_id(best),
            "title": trial.title(best),
            "value": float(numbers(trial.frame, trial.measure.column)[best]),
            "as_fast": trial.as_fast(best, fitting),
            "slack": {key: float(limit - trial.spending[key][best]) for key, limit in trial.limits.items()},
            "binding": trial.shadow_prices(best),
            "is_best_of_all": not bool((trial.merit > trial.merit[best]).any()),
        }
    return Choice(objective, len(frame), int(fitting.sum()), unknown=trial.unknown(), judging=trial.judging, **found)


@dataclass(frozen=True, eq=False)
class _Trial:
    """A table, rows numbered from 0, held against limits."""

    frame: pd.DataFrame
    measure: Measure
    limits: dict[str, float]
    judging: Judging

    @cached_property
    def merit(self) -> pd.Series[float]:
        return self.measure.merit(self.frame)

    @cached_property
    def spending(self) -> dict[str, pd.Series[float]]:
        return {key: spent(self.frame, key) for key in self.limits}

    def fitting(self, without: str = "") -> pd.Series[bool]:
        """Rows with a known objective that keep every budget but one."""
        fits = self.merit.notna()
        for key, limit in self.limits.items():
            if key != without:
                fits &= self.spending[key] <= limit
        return fits

    def best(self, rows: pd.Series[bool]) -> int:
        candidates = np.flatnonzero(rows)
        accuracy = numbers(self.frame, "accuracy").fillna(-1)
        return int(candidates[np.lexsort((-accuracy[candidates], -self.merit[candidates]))[0]])

    def as_fast(self, best: int, rows: pd.Series[bool]) -> tuple[str, ...]:
        """Titles of the others of these rows that the intervals do not show to be slower; none for other objectives."""
        middle = numbers(self.frame, self.measure.column)
        low, high = (numbers(self.frame, f"{self.measure.key}_{end}_ms") for end in ("low", "high"))
        known = np.flatnonzero(rows & low.notna() & high.notna())
        if best not in known:
            return ()
        tied = [
            int(row)
            for row in known[known != best]
            if latency_verdict(middle[best] / middle[row], low[best] / high[row], high[best] / low[row])
            == NO_DIFFERENCE
        ]
        return tuple(self.title(row) for row in sorted(tied, key=middle.__getitem__))

    def shadow_prices(self, best: int) -> tuple[ShadowPrice, ...]:
        is_better = self.merit > self.merit[best]
        found = [(key, self._nearest(key, is_better & self.fitting(without=key))) for key in self.limits]
        return tuple(self._shadow_price(key, row, best) for key, row in found if row is not None)

    def _shadow_price(self, key: str, row: int, best: int) -> ShadowPrice:
        values = numbers(self.frame, self.measure.column)
        gain = self.measure.gain(values[row], values[best])
        needed = float(self.spending[key][row] - self.limits[key])
        return ShadowPrice(key, needed, gain, self.measure.key, self.run_id(row), self.title(row))

    def misses(self) -> tuple[Miss, ...]:
        found = [self._miss(key) for key in self.limits]
        return tuple(miss for miss in found if miss)

    def _miss(self, key: str) -> Miss | None:
        known = self.merit.notna()
        excludes_all = not bool((known & (self.spending[key] <= self.limits[key])).any())
        row = self._nearest(key, self.fitting(without=key))
        fits_the_others = row is not None
        if row is None and excludes_all:
            row = self._nearest(key, known)
        if row is None:
            return None
        excess = float(self.spending[key][row] - self.limits[key])
        return Miss(key, excess, self.run_id(row), self.title(row), fits_the_others, excludes_all, self.judging)

    def _nearest(self, key: str, rows: pd.Series[bool]) -> int | None:
        """Of these rows the one that spends least of a budget, of equals the one with the best objective."""
        candidates = np.flatnonzero(rows & self.spending[key].notna())
        if not len(candidates):
            return None
        return int(candidates[np.lexsort((-self.merit[candidates], self.spending[key][candidates]))[0]])

    def unknown(self) -> tuple[str, ...]:
        """What keeps a variant from being judged, in sentences."""
        count = len(self.frame)
        gaps = {self.measure.title: int(self.merit.isna().sum())}
        gaps |= {
            BUDGETS[key].title: int(self.spending[key].isna().sum()) for key in self.limits if key != "points_lost"
        }
        sentences = [
            f"{title} was not measured for {missing} of {count} variants, which therefore do not fit."
            for title, missing in gaps.items()
            if missing
        ]
        if count and "points_lost" in self.limits and not _is_baseline(self.frame).any():
            lost = budget("points_lost", self.judging).title
            sentences.append(f"{lost} is counted from a baseline and none is here: add one or drop this budget.")
        return tuple(sentences)

    def run_id(self, row: int) -> str:
        return str(self.frame["run_id"][row])

    def title(self, row: int) -> str:
        return str(self.frame["title"][row])
