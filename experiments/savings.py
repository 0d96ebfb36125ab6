"""What a million images cost with each variant, and which of the differences may be called a saving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.cost import Cost, Price, cost_per_million, money
from experiments.measures import NO_DIFFERENCE
from experiments.recommendation import baseline, in_a_list
from experiments.result import RunResult
from profiling.energy import Energy

OTHER_SOURCE = "computed otherwise than the baseline's"


@dataclass(frozen=True)
class CostLine:
    """What a million images cost with one variant, and how that compares."""

    run_id: str
    title: str
    cost: Cost
    words: str
    """`78.4 % less`, no measurable difference, `baseline`, or why nothing is said; empty where one is not known."""
    saving: float | None = None
    """Share of the baseline's cost that is saved, negative if it costs more; None where none may be claimed."""

    @property
    def amount(self) -> str:
        """`$0.42`, or that it is not known."""
        return "not known" if self.cost.amount is None else money(self.cost.amount, self.cost.currency)


def costs(frame: pd.DataFrame, results: Mapping[str, RunResult], price: Price) -> tuple[CostLine, ...]:
    """A line for each row of the table, at the batch size compared.

    A saving is claimed only against a baseline whose cost was computed in the same way, and where the time or the
    energy from which both come differs measurably.
    """
    found = {row.run_id: _cost_of(row, price) for _, row in frame.iterrows()}
    base = baseline(frame)
    return tuple(_line(row, base, found, results) for _, row in frame.iterrows())


def _cost_of(row: pd.Series[Any], price: Price) -> Cost:
    joules = None if pd.isna(row.joules) else float(row.joules) / int(row.batch_size)
    return cost_per_million(price, joules_per_image=joules, images_per_s=float(row.throughput_per_s))


def _line(
    row: pd.Series[Any], base: pd.Series[Any] | None, found: Mapping[str, Cost], results: Mapping[str, RunResult]
) -> CostLine:
    cost = found[row.run_id]
    if base is None or row.run_id == base.run_id:
        return CostLine(row.run_id, row.title, cost, "" if base is None else "baseline")
    before = found[base.run_id]
    if not cost.amount or not before.amount:
        return CostLine(row.run_id, row.title, cost, "")
    if cost.source != before.source:
        return CostLine(row.run_id, row.title, cost, OTHER_SOURCE)
    if not _differs(row, base, results, by_energy=is_by_energy(cost)):
        return CostLine(row.run_id, row.title, cost, NO_DIFFERENCE)
    saving = 1 - cost.amount / before.amount
    words = f"{100 * abs(saving):.1f} % {'less' if saving > 0 else 'more'}"
    return CostLine(row.run_id, row.title, cost, words, saving)


def is_by_energy(cost: Cost) -> bool:
    """Whether it was computed from measured energy."""
    return "measured energy" in cost.source


def _differs(row: pd.Series[Any], base: pd.Series[Any], results: Mapping[str, RunResult], *, by_energy: bool) -> bool:
    if by_energy:
        return energy_differs(results[row.run_id], results[base.run_id])
    return bool(row.latency_verdict != NO_DIFFERENCE)


def energy_differs(one: RunResult, other: RunResult) -> bool:
    """Whether both were measured and their 95 % intervals do not meet."""
    if not (isinstance(one.energy, Energy) and isinstance(other.energy, Energy)):
        return False
    ours, theirs = one.energy.joules_per_inference_interval, other.energy.joules_per_inference_interval
    return ours is not None and theirs is not None and (ours[1] < theirs[0] or theirs[1] < ours[0])


def cost_notes(lines: Sequence[CostLine]) -> tuple[str, ...]:
    """What the costs come from, one sentence a source with the variants it holds for, and what is not in them."""
    by_source: dict[tuple[bool, str], list[str]] = {}
    for line in lines:
        by_source.setdefault((line.cost.amount is None, line.cost.source), []).append(line.title)
    notes = [
        f"{'All' if len(by_source) == 1 else in_a_list(titles)}: {'not known, ' if is_unknown else 'from '}{source}."
        for (is_unknown, source), titles in by_source.items()
    ]
    if any(line.cost.amount is not None and is_by_energy(line.cost) for line in lines):
        notes.append("Measured energy is that of the GPU board above idle: host, cooling and idle hours are not in it.")
    return tuple(notes)
