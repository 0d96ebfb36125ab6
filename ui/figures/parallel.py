"""All measures side by side, a line for each variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from experiments.judging import of_frame
from experiments.measures import Measure, numbers
from experiments.measures import measure as named
from ui.figures.axes import measured, number, with_unit
from ui.figures.frame import GREY, WIDE_RANGE, Colours, framed, shorten

HEIGHT, ABOVE, BELOW, NAMES_WIDTH = 420, 64, 26, 206
"""Pixels of the figure, and in it of what is written above, below and to the right of the axes."""
LONGEST_NAME = 33
NAME_GAP = 19 / (HEIGHT - ABOVE - BELOW)
"""The least distance of two names, as a share of the axes' height."""
MARGIN = 0.03
"""How far the picture goes on above and below the axes, as a share of their height."""
LEADER = 0.25
"""How far beyond the last axis the names begin, in distances of axes."""


def parallel(frame: pd.DataFrame, colours: Colours, *, ink: str, chosen: str | None = None) -> go.Figure:
    """An axis for each measure that was measured, better always up, and a line for each variant.

    Each axis reaches from the worst variant to the best, by logarithm where they lie far apart. What a variant lacks
    is a gap in its line. The line of the run `chosen` is thicker and its name bold; those of other models are dotted.
    """
    shown = [named(key, of_frame(frame)) for key in measured(frame)]
    heights = np.column_stack([_heights(each, numbers(frame, each.column)) for each in shown])
    names = _spread(np.array([_last(row) for row in heights]))
    rows = list(zip(frame.to_dict("records"), heights, names, strict=True))
    figure = go.Figure(
        [_line(row, shown, places, name, colours, is_chosen=row["run_id"] == chosen) for row, places, name in rows]
    )
    words = [each for at, measure in enumerate(shown) for each in _ends(measure, frame, at, ink)]
    words += [_name(row, name, colours, ink, is_chosen=row["run_id"] == chosen) for row, _, name in rows]
    figure.update_layout(annotations=words, shapes=[_axis(at, ink) for at in range(len(shown))])
    figure.update_xaxes(visible=False, range=[-0.35, len(shown) - 1 + LEADER], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-MARGIN, 1 + MARGIN], fixedrange=True)
    framed(figure, height=HEIGHT)
    return figure.update_layout(margin={"l": 4, "r": NAMES_WIDTH, "t": ABOVE, "b": BELOW})


def _heights(measure: Measure, values: pd.Series[float]) -> NDArray[np.float64]:
    """0 for the worst value, 1 for the best; half way up where all are equal."""
    places = values.to_numpy(float)
    if measure.words is not None and values.min() > 0 and values.max() / values.min() > WIDE_RANGE:
        places = np.log(places)
    low, high = np.nanmin(places), np.nanmax(places)
    shares = (places - low) / (high - low) if high > low else places * 0 + 0.5
    return np.asarray(shares if measure.better == "more" else 1 - shares, float)


def _last(heights: NDArray[np.float64]) -> float:
    known = heights[~np.isnan(heights)]
    return float(known[-1]) if len(known) else 0.5


def _spread(wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The heights nearest to these (least squares) at which names keep their distance; all between the axes' ends."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(wanted, kind="stable")
    steps = np.arange(len(wanted)) * NAME_GAP
    highest = max(0.0, 1 - NAME_GAP * (len(wanted) - 1))
    placed = np.clip(isotonic_regression(wanted[order] - steps).x, 0.0, highest) + steps
    return np.asarray(placed[np.argsort(order)], float)


def _line(
    row: dict[Any, Any],
    shown: list[Measure],
    places: NDArray[np.float64],
    name: float,
    colours: Colours,
    *,
    is_chosen: bool,
) -> go.Scatter:
    colour, last = colours.get(row["digest"], GREY), len(shown) - 1
    title = shorten(row["title"], 60)
    hover = [f"<b>{title}</b><br>{each.title} {_text(row, each)}" for each in shown]
    return go.Scatter(
        x=[*range(len(shown)), last + LEADER * 0.92], y=[*places, name], name=title, mode="lines+markers",
        line={"color": colour, "width": 4 if is_chosen else 1.8, "dash": "dot" if row.get("is_beside") else "solid"},
        marker={"color": colour, "opacity": 1, "size": [10 if is_chosen else 7] * len(shown) + [0]},
        hovertext=[*hover, ""], hoverinfo="text",
    )  # fmt: skip


def _text(row: dict[Any, Any], measure: Measure) -> str:
    value = row.get(measure.column)
    return with_unit(measure, float("nan") if value is None else float(value))


def _axis(at: int, ink: str) -> dict[str, Any]:
    line = {"color": ink, "width": 1}
    return {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "line": line, "opacity": 0.4, "layer": "below"}


def _ends(measure: Measure, frame: pd.DataFrame, at: int, ink: str) -> list[dict[str, Any]]:
    """Above an axis its title, unit and best value, below it its worst value."""
    values = numbers(frame, measure.column) * measure.scale
    worst, best = sorted((values.min(), values.max()), reverse=measure.better == "less")
    head, _, tail = measure.title.partition(" ")
    above = f"<b>{head}</b><br>{', '.join(filter(None, (tail, measure.unit)))}<br>{number(best)}"
    look = {"x": at, "showarrow": False, "font": {"size": 11, "color": ink}}
    return [
        {"y": 1, "yanchor": "bottom", "yshift": 4, "text": above, **look},
        {"y": 0, "yanchor": "top", "yshift": -4, "text": number(worst) if worst != best else "all alike", **look},
    ]


def _name(row: dict[Any, Any], height: float, colours: Colours, ink: str, *, is_chosen: bool) -> dict[str, Any]:
    words = shorten(row["title"], LONGEST_NAME)
    swatch = f"<span style='color:{colours.get(row['digest'], GREY)}'>■</span>"
    return {
        "x": 1, "xref": "paper", "xanchor": "left", "y": height, "yanchor": "middle", "showarrow": False,
        "text": f"{swatch} <b>{words}</b>" if is_chosen else f"{swatch} {words}", "font": {"size": 11, "color": ink},
    }  # fmt: skip
