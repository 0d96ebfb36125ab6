"""The few measures of a variant that people remember, each with a verdict only where a test allows one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from experiments.compare import DISTURBED
from experiments.judging import of_row
from experiments.measures import MEASURES, NO_DIFFERENCE
from experiments.recommendation import accuracy_interval, size_words
from experiments.result import RunResult
from experiments.savings import CostLine, energy_differs

Tone = Literal["better", "worse", "same"]


@dataclass(frozen=True)
class KeyFigure:
    """One measure of a variant against the baseline, in words."""

    title: str
    value: str
    before: str = ""
    """The baseline's value; empty without one."""
    change: str = ""
    """A verdict; empty where no test allows one."""
    tone: Tone = "same"
    note: str = ""


def key_figures(
    row: pd.Series[Any], base: pd.Series[Any] | None, results: Mapping[str, RunResult], lines: Sequence[CostLine]
) -> tuple[KeyFigure, ...]:
    """What was measured of the variant in that row, then its cost where there is a price."""
    figures = [_accuracy(row, base), _latency(row, base), _size(row, base)]
    if pd.notna(row.best_throughput_per_s):
        note = f"at batch size {row.best_batch_size:.0f}, the best one tried"
        figures.append(_figure("throughput", "Throughput", row, base, column="best_throughput_per_s", note=note))
    figures.append(_figure("memory", "Memory", row, base, note=results[row.run_id].memory.headline_label))
    if pd.notna(row.joules):
        figures.append(_energy(row, base, results))
    return (*figures, *_cost_figures(lines, row.run_id))


def _figure(
    key: str, title: str, row: pd.Series[Any], base: pd.Series[Any] | None, *, column: str = "", **rest: Any
) -> KeyFigure:
    """A measure of both; of the best throughput where `column` says so."""
    name = column or MEASURES[key].column
    before = "" if base is None or pd.isna(base[name]) else _text(key, float(base[name]))
    return KeyFigure(title, _text(key, float(row[name])), before, **rest)


def _text(key: str, value: float) -> str:
    """The value with its unit; nobody needs hundredths of an image per second."""
    measure = MEASURES[key]
    return f"{value:,.0f} {measure.unit}" if key == "throughput" and value >= 100 else measure.text(value)


def _tone(gain: float) -> Tone:
    return "better" if gain > 0 else "worse" if gain < 0 else "same"


def _accuracy(row: pd.Series[Any], base: pd.Series[Any] | None) -> KeyFigure:
    change = "" if base is None else str(row.accuracy_verdict)
    tone = "same" if change in ("", NO_DIFFERENCE) else _tone(row.accuracy_points)
    title = of_row(row).title
    return _figure("accuracy", title, row, base, change=change, tone=tone, note=accuracy_interval(row))


def _latency(row: pd.Series[Any], base: pd.Series[Any] | None) -> KeyFigure:
    change = "" if base is None else str(row.latency_verdict)
    tone = "same" if change in ("", NO_DIFFERENCE) or change.endswith(DISTURBED) else _tone(row.speedup - 1)
    is_known = base is not None and pd.notna(row.speedup_low)
    note = f"95 % interval {row.speedup_low:.2f}x to {row.speedup_high:.2f}x as fast" if is_known else ""
    return _figure("p50", "Latency, p50", row, base, change=change, tone=tone, note=note)


def _size(row: pd.Series[Any], base: pd.Series[Any] | None) -> KeyFigure:
    change = "" if base is None else size_words(row, base)
    tone = _tone(base.size_bytes - row.size_bytes) if base is not None and change else "same"
    change = change or ("" if base is None else "as large")
    note = f"{MEASURES['gzip'].text(float(row.gzip_bytes))} compressed"
    return _figure("size", "Size of the file", row, base, change=change, tone=tone, note=note)


def _energy(row: pd.Series[Any], base: pd.Series[Any] | None, results: Mapping[str, RunResult]) -> KeyFigure:
    change, gain = "", 0.0
    if base is not None and pd.notna(base.joules):
        change = NO_DIFFERENCE
        if energy_differs(results[row.run_id], results[base.run_id]):
            gain = MEASURES["energy"].gain(float(row.joules), float(base.joules))
            change = MEASURES["energy"].in_words(gain)
    return _figure("energy", "Energy, per inference", row, base, change=change, tone=_tone(gain))


def _cost_figures(lines: Sequence[CostLine], run_id: str) -> list[KeyFigure]:
    before = next((line.amount for line in lines if line.words == "baseline"), "")
    return [
        KeyFigure("Cost per million images", line.amount, before, line.words, _tone(line.saving or 0.0))
        for line in lines
        if line.run_id == run_id
    ]
