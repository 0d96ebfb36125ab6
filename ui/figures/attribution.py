"""What each technique contributed, as bars that add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from experiments.measures import MEASURES
from ui.figures.frame import WIDE_RANGE, framed, log_ticks, shorten

ROW_HEIGHT, PANEL_FRAME = 62, 30
MOST_TICKS = 6
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
"""Distances between two factors on the axis."""
SMALLEST_REACH = 0.05
"""Points, or parts of a factor, that the axis spans at the least."""


def contributions(table: pd.DataFrame, total: float, *, colour: str, ink: str) -> go.Figure:
    """A bar for each technique and one, hollow, for all together, of one measure.

    `table` has the rows of one measure of `experiments.attribution.Attribution`, `total` is its total. Factors are
    placed by their logarithm, so that the bars add up to the last one. Below each bar a thin line is the 95 % interval,
    and a ring and a diamond say what the technique adds alone and on top of the others.
    """
    is_factor = bool((table.scale == "factor").all())
    table = _placed(table, is_factor)
    whole = math.log(total) if is_factor else total
    rows = -table.index.to_numpy()
    figure = go.Figure(
        [
            _zero([*rows, -len(table)], ink),
            _bars(table.contribution, rows, colour),
            _bars(pd.Series([whole]), [-len(table)], "rgba(0,0,0,0)", outline=colour),
            _interval(table, rows - 0.19, ink),
            _span(table, rows - 0.33, ink),
            _ends(table.first_in, rows - 0.33, "circle-open", ink),
            _ends(table.last_in, rows - 0.33, "diamond", ink),
        ]
    )
    words = [*zip(table.title, table.words, strict=True), ("All together", _in_words(table, whole))]
    figure.update_layout(
        annotations=[each for row, (title, value) in enumerate(words) for each in _line(-row, title, value, ink)]
    )
    low, high = _reach(table, whole)
    figure.update_xaxes(range=[low, high], zeroline=False, **_ticks(low, high, is_factor))
    figure.update_yaxes(visible=False, range=[-len(table) - 0.42, 0.52], fixedrange=True)
    figure.add_hline(y=-len(table) + 0.57, line={"color": ink, "width": 1, "dash": "dot"})
    return framed(figure, height=PANEL_FRAME + ROW_HEIGHT * (len(table) + 1))


def _placed(table: pd.DataFrame, is_factor: bool) -> pd.DataFrame:
    """The rows, numbered, with what is a factor as its logarithm."""
    table = table.reset_index(drop=True)
    if not is_factor:
        return table
    columns = ["contribution", "first_in", "last_in", "low", "high"]
    return table.assign(**{name: table[name].map(math.log, na_action="ignore") for name in columns})


def _bars(values: pd.Series[Any], rows: Any, colour: str, *, outline: str = "") -> go.Bar:
    line = {"color": outline or colour, "width": 2 if outline else 0}
    return go.Bar(
        x=values, y=rows, orientation="h", width=0.3, marker={"color": colour, "line": line}, hoverinfo="skip"
    )


def _zero(rows: Sequence[float], ink: str) -> go.Scatter:
    """Where nothing is contributed: a stroke beside each bar, which leaves the words above it alone."""
    y = [place for row in rows for place in (row + 0.19, row - 0.38, None)]
    return go.Scatter(x=[0, 0, None] * len(rows), y=y, mode="lines", line={"color": ink, "width": 1}, hoverinfo="skip")


def _interval(table: pd.DataFrame, rows: Any, ink: str) -> go.Scatter:
    spans = {"array": table.high - table.contribution, "arrayminus": table.contribution - table.low}
    return go.Scatter(
        x=table.contribution.where(table.low.notna()), y=rows, mode="markers", marker={"color": ink, "size": 1},
        hoverinfo="skip", error_x={**spans, "thickness": 1.2, "width": 3, "color": ink},
    )  # fmt: skip


def _span(table: pd.DataFrame, rows: Any, ink: str) -> go.Scatter:
    x = [end for first, last in zip(table.first_in, table.last_in, strict=True) for end in (first, last, None)]
    y = [place for row in rows for place in (row, row, None)]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": ink, "width": 1, "dash": "dot"}, hoverinfo="skip")


def _ends(values: pd.Series[Any], rows: Any, symbol: str, ink: str) -> go.Scatter:
    return go.Scatter(
        x=values, y=rows, mode="markers", marker={"symbol": symbol, "color": ink, "size": 8}, hoverinfo="skip"
    )


def _in_words(table: pd.DataFrame, gain: float) -> str:
    return MEASURES[table.measure.iloc[0]].in_words(gain)


def _line(row: int, title: str, value: str, ink: str) -> list[dict[str, Any]]:
    """Above a bar its title and, to the right, its value."""
    look = {"showarrow": False, "font": {"size": 12, "color": ink}, "xref": "x domain", "y": row + 0.34}
    left = {"text": shorten(title, 26), "x": 0, "xanchor": "left"}
    right = {"text": f"<b>{value}</b>", "x": 1, "xanchor": "right"}
    return [{**look, "yanchor": "middle", **each} for each in (left, right)]


def _reach(table: pd.DataFrame, whole: float) -> tuple[float, float]:
    """Where the axis begins and ends: around 0 and everything that is drawn."""
    drawn = table[["contribution", "first_in", "last_in", "low", "high"]].to_numpy(float)
    values = [0.0, whole, *drawn[~pd.isna(drawn)]]
    low, high = min(values), max(values)
    spare = 0.06 * max(high - low, SMALLEST_REACH)
    return low - spare, high + spare


def _ticks(low: float, high: float, is_factor: bool) -> dict[str, Any]:
    """Round points, or round factors at the places of their logarithms."""
    if not is_factor:
        return {"nticks": MOST_TICKS, "tickformat": "+"}
    factors = _factors(math.exp(low), math.exp(high))
    return {"tickvals": [math.log(each) for each in factors], "ticktext": [f"{each:g}x" for each in factors]}


def _factors(low: float, high: float) -> list[float]:
    if high / low > WIDE_RANGE:
        return [each for each in log_ticks(low, high) if low <= each <= high]
    step = next((step for step in STEPS if (high - low) / step < MOST_TICKS), STEPS[-1])
    return [round(step * count, 2) for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
