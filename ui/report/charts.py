"""The figures of a report: those of the Compare page, in light colours and with a frame of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from experiments.judging import of_frame
from experiments.report import Report
from ui.figures.bars import bars, panels, remark
from ui.figures.distributions import cumulative
from ui.figures.pareto import Marks, trade_off
from ui.theme import INK_LIGHT, colour_of

BARS = 4
"""Panels of bars: accuracy, latency, size and throughput."""
FONT = '-apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
AXIS = {"automargin": True, "gridcolor": "#E6EAF1", "linecolor": "#D5DBE4", "tickfont": {"size": 11}}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 12, "color": INK_LIGHT},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "xaxis": AXIS,
        "yaxis": AXIS,
    }
)


@dataclass(frozen=True)
class Chart:
    """A figure and what stands around it."""

    key: str
    title: str
    remark: str
    """Unit, and which way is better."""
    alt: str
    figure: go.Figure
    reading: str = ""
    """How to read it; empty where that is plain."""
    is_wide: bool = False


def charts(report: Report) -> list[Chart]:
    """All figures of a report, in the order in which they are shown."""
    frame = report.frame
    colours = {digest: colour_of(slot) for digest, slot in zip(frame.digest, frame.slot, strict=True)}
    found = [
        Chart(panel.column, panel.title, remark(frame, panel), f"{panel.title} of each variant, as bars", figure)
        for panel in panels(frame)[:BARS]
        for figure in [bars(frame, panel, colours, ink=INK_LIGHT)]
    ]
    found += [_trade_off(report, colours), _cumulative(report, colours)]
    for chart in found:
        chart.figure.update_layout(template=TEMPLATE)
    return found


def _trade_off(report: Report, colours: dict[str, str]) -> Chart:
    marks, title = Marks(chosen=report.recommended), of_frame(report.frame).title
    return Chart(
        "trade-off",
        f"{title} over latency",
        "up and to the left is better",
        f"{title} over latency of each variant, with the Pareto front",
        trade_off(report.frame, "p50", "accuracy", colours, ink=INK_LIGHT, marks=marks),
        "The dotted line joins the variants that no other one beats in both (the Pareto front); the others are paler. "
        "The area of a disc is the size of the file, thin lines are 95 % intervals, the ring marks the recommended "
        "variant.",
        is_wide=True,
    )


def _cumulative(report: Report, colours: dict[str, str]) -> Chart:
    samples: dict[str, Any] = {run_id: report.results[run_id].latency.samples_ms for run_id in report.frame.run_id}
    return Chart(
        "latencies",
        "How long single calls take",
        "every timed call",
        "For each variant, the share of calls that took at most a time",
        cumulative(report.frame, samples, colours, ink=INK_LIGHT),
        "Further left is faster, steeper is steadier: half of the calls take at most p50 (disc), 95 of 100 at most p95 "
        "(diamond). Dotted curves: other work disturbed the timing.",
        is_wide=True,
    )
