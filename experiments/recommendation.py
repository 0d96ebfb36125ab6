"""Which variant to take, and what it gains and costs in one sentence.

From the table of `experiments.compare.against_baseline`; nothing is called faster, slower, better or worse that the
table's verdicts do not call so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.errors import BadInput
from experiments.compare import DISTURBED, latency_verdict
from experiments.judging import of_frame, of_row
from experiments.measures import MEASURES, NO_DIFFERENCE

SAME_SIZE = 0.005
"""Files whose sizes differ by a smaller share are called as large."""
UNTOUCHED = "the untouched model"


@dataclass(frozen=True)
class Recommendation:
    """A variant to take, and why this one."""

    run_id: str
    reason: str


def baseline(frame: pd.DataFrame) -> pd.Series[Any] | None:
    """The row of the table's first baseline, from which its differences count; None without one."""
    rows = frame[frame.is_baseline.astype(bool)]
    return rows.iloc[0] if len(rows) else None


def candidates(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that can be recommended: all but baselines."""
    return frame[~frame.is_baseline.astype(bool)]


def recommend(frame: pd.DataFrame) -> Recommendation:
    """The fastest variant at p50 among those without measurable loss of accuracy, else the one that loses least.

    Raises `BadInput` when there is nothing but baselines.
    """
    offered = candidates(frame)
    if offered.empty:
        raise BadInput(
            "A report without a variant", expected="at least one beside the baseline", action="Choose one, or run INT8"
        )
    judging = of_frame(frame)
    if baseline(frame) is None:
        best = _first(offered, accuracy=False, p50_ms=True)
        words = f"It is the {judging.superlative} here; without the baseline no loss can be tested."
        return Recommendation(best.run_id, words)
    harmless = offered[(offered.accuracy_verdict == NO_DIFFERENCE) | (offered.accuracy_points > 0)]
    if harmless.empty:
        best = _first(offered, accuracy_points=False, p50_ms=True)
        words = f"Every variant loses {judging.noun} measurably; this one loses least."
        return Recommendation(best.run_id, words if len(offered) > 1 else _ONLY)
    best = _first(harmless, p50_ms=True, accuracy=False)
    return Recommendation(best.run_id, _why_best(best, harmless, len(offered), judging.noun))


_ONLY = "It is the only variant."


def _first(rows: pd.DataFrame, **ascending: bool) -> pd.Series[Any]:
    return rows.sort_values([*ascending], ascending=[*ascending.values()], kind="stable").iloc[0]


def _why_best(best: pd.Series[Any], harmless: pd.DataFrame, count: int, noun: str) -> str:
    """Why this one of the harmless variants, and which of the others are as good as far as one can tell."""
    if count == 1:
        return _ONLY
    if len(harmless) == 1:
        return f"Of {count} variants it is the only one without a measurable loss of {noun}."
    words = f"It has the lowest p50 of the {len(harmless)} variants without a measurable loss of {noun}"
    rivals = [row.title for _, row in harmless.iterrows() if row.run_id != best.run_id and not _is_slower(row, best)]
    if not rivals:
        return f"{words}."
    return f"{words}; {in_a_list(rivals)} {'is' if len(rivals) == 1 else 'are'} not measurably slower."


def _is_slower(row: pd.Series[Any], best: pd.Series[Any]) -> bool:
    low, high = best.p50_low_ms / row.p50_high_ms, best.p50_high_ms / row.p50_low_ms
    return latency_verdict(best.p50_ms / row.p50_ms, low, high) != NO_DIFFERENCE


def headline(row: pd.Series[Any], base: pd.Series[Any] | None) -> str:
    """What a variant gains and costs against the baseline, with its accuracy and the interval of it."""
    judging = of_row(row)
    measured = f"{MEASURES['accuracy'].text(row.accuracy)}, {accuracy_interval(row)}"
    if base is None:
        p50 = MEASURES["p50"].text(row.p50_ms)
        if judging.has_labels:
            return f"{row.title} answers in {p50} and is right on {measured} of the test {judging.unit}."
        return f"{row.title} answers in {p50} and agrees with {UNTOUCHED} on {measured} of the test {judging.unit}."
    return f"{row.title} is {_gains(row, base)}, {_price(row, measured, judging.noun)}."


def _gains(row: pd.Series[Any], base: pd.Series[Any]) -> str:
    """`4.62x faster and 3.78x smaller than the untouched model`; a speed that was disturbed is called so."""
    speed, size = row.latency_verdict.replace(DISTURBED, " (timing disturbed)"), size_words(row, base)
    words = [each for each in (speed, size) if each not in (NO_DIFFERENCE, "")]
    if not words:
        return f"as large as {UNTOUCHED}"
    is_mixed = len(words) == 2 and ("slower" in speed) != ("larger" in size)
    return f"{(' but ' if is_mixed else ' and ').join(words)} than {UNTOUCHED}"


def _price(row: pd.Series[Any], measured: str, noun: str) -> str:
    """`with no measurable difference in accuracy (93.71 %, 95 % interval 93.22 to 94.17 %)`."""
    is_as_fast = row.latency_verdict == NO_DIFFERENCE
    if row.accuracy_verdict == NO_DIFFERENCE:
        return f"with {NO_DIFFERENCE} in {'speed or ' if is_as_fast else ''}{noun} ({measured})"
    points = f"{abs(row.accuracy_points):.2f} points of {noun} ({measured})"
    change = f"with a gain of {points}" if row.accuracy_points > 0 else f"at the cost of {points}"
    return f"with {NO_DIFFERENCE} in speed and {change}" if is_as_fast else change


def size_words(row: pd.Series[Any], base: pd.Series[Any]) -> str:
    """`3.78x smaller`; empty where the files are as large. Bytes are exact, so this needs no test."""
    if abs(row.size_bytes / base.size_bytes - 1) < SAME_SIZE:
        return ""
    measure = MEASURES["size"]
    return measure.in_words(measure.gain(float(row.size_bytes), float(base.size_bytes)))


def accuracy_interval(row: pd.Series[Any]) -> str:
    """`95 % interval 93.22 to 94.17 %`."""
    return f"95 % interval {100 * row.accuracy_low:.2f} to {100 * row.accuracy_high:.2f} %"


def in_a_list(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
