"""From the time that arithmetic promises to the time that was measured, cause by cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from ui.figures.frame import framed, shorten

ROW_HEIGHT = 34
LONGEST_LABEL = 48
LOSS, GAIN, PROMISE = "#B8577A", "#0E9F8E", "#8A93A0"
"""Time that a cause adds, time that it saves, and what arithmetic would take away; none is a variant's colour."""
THICK, THIN = 0.66, 0.4
"""Totals, and the steps between them."""


@dataclass(frozen=True)
class Bar:
    """One row: a time of its own, or what is added to the row before."""

    title: str
    ms: float
    kind: Literal["total", "step", "promise"]
    colour: str = ""
    """`#RRGGBB` of a total; steps have their own."""


def waterfall(bars: Sequence[Bar], *, ink: str) -> go.Figure:
    """The rows from top to bottom; each step begins where the row before ended."""
    ends = _ends(bars)
    starts = [0.0 if bar.kind == "total" else end - bar.ms for bar, end in zip(bars, ends, strict=True)]
    rows = list(range(len(bars)))
    figure = go.Figure(
        go.Bar(
            x=[end - start for start, end in zip(starts, ends, strict=True)],
            base=starts,
            y=rows,
            orientation="h",
            width=[THICK if bar.kind == "total" else THIN for bar in bars],
            marker={"color": [_colour(bar) for bar in bars], "pattern": {"shape": [_pattern(bar) for bar in bars]}},
            customdata=[
                [shorten(bar.title, 60), f"{bar.ms:+.3f}" if bar.kind != "total" else f"{bar.ms:.3f}"] for bar in bars
            ],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]} ms<extra></extra>",
        )
    )
    edge = max(max(start, end) for start, end in zip(starts, ends, strict=True))
    figure.update_layout(
        annotations=[
            _value(bar, row, max(start, end), ink)
            for bar, row, start, end in zip(bars, rows, starts, ends, strict=True)
        ]
    )
    figure.add_trace(_connectors(ends, rows, ink))
    figure.update_xaxes(title="ms per inference", range=[min(0.0, *starts, *ends), 1.14 * edge], zeroline=False)
    labels = [shorten(bar.title, LONGEST_LABEL) for bar in bars]
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(bars) - 0.4, -0.6], automargin=True, showgrid=False)
    return framed(figure, height=70 + ROW_HEIGHT * len(bars))


def _ends(bars: Sequence[Bar]) -> list[float]:
    ends: list[float] = []
    for bar in bars:
        ends.append(bar.ms if bar.kind == "total" else ends[-1] + bar.ms)
    return ends


def _colour(bar: Bar) -> str:
    if bar.kind == "total":
        return bar.colour
    return PROMISE if bar.kind == "promise" else LOSS if bar.ms > 0 else GAIN


def _pattern(bar: Bar) -> str:
    return "/" if bar.kind == "promise" else ""


def _value(bar: Bar, row: int, right: float, ink: str) -> dict[str, object]:
    words = f"<b>{bar.ms:.3f}</b>" if bar.kind == "total" else f"{bar.ms:+.3f}"
    return {
        "x": right, "y": row, "text": words, "showarrow": False, "xanchor": "left", "xshift": 6, "yanchor": "middle",
        "font": {"size": 12, "color": ink},
    }  # fmt: skip


def _connectors(ends: Sequence[float], rows: Sequence[int], ink: str) -> go.Scatter:
    """Thin lines from the end of each row to the next one."""
    x: list[float | None] = []
    y: list[float | None] = []
    for end, row in zip(ends[:-1], rows[:-1], strict=True):
        x += [end, end, None]
        y += [row + THIN / 2, row + 1 - THIN / 2, None]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": ink, "width": 1}, opacity=0.5, hoverinfo="skip")
