"""The values of one tensor, and the grid that they are rounded to. Knows no streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from core.quantization import GridSummary, Histogram
from ui.figures.frame import framed
from ui.figures.waterfall import LOSS

HEIGHT = 270
RULER = 0.08
"""Share of the plot's height that a ruler takes."""
MOST_LINES = 120
"""Of a ruler: values closer together than this share of its length are drawn as one line."""
FEW_VALUES = 32
"""Up to so many, each is a line through the whole plot."""
_RULERS = {1: ("median",), 3: ("widest", "median", "finest")}


def values_of(grid: GridSummary, scale: float) -> list[float]:
    """The real values that the grid can take with that scale, ascending."""
    return [scale * (step - grid.zero_point) for step in _steps(grid)]


def _steps(grid: GridSummary) -> list[float]:
    """The stored numbers: those of FP8 (E4M3) and FP4 (E2M1), known by their ends, or all integers between the ends."""
    if (grid.bits, grid.high) == (8, 448):
        sizes = [mantissa * 2.0**-9 for mantissa in range(8)]
        sizes += [(1 + mantissa / 8) * 2.0**exponent for exponent in range(-6, 9) for mantissa in range(8)]
        sizes = [size for size in sizes if size <= grid.high]
    elif (grid.bits, grid.low, grid.high) == (4, -6, 6):
        sizes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    else:
        return [float(step) for step in range(grid.low, grid.high + 1)]
    return [*(-size for size in reversed(sizes[1:])), *sizes]


def thinned(values: Sequence[float], low: float, high: float) -> list[float]:
    """The values from low to high, without those that would lie closer to the one before than can be told apart."""
    apart = (high - low) / MOST_LINES
    kept: list[float] = []
    for value in values:
        if low <= value <= high and (not kept or value - kept[-1] >= apart * 0.999):
            kept.append(value)
    return kept


def scales_of(grid: GridSummary) -> list[float]:
    """The scales whose rulers can be drawn, the largest first.

    All three where channels share the zero point, which shows in how far the largest scale reaches; else the median.
    """
    if len(grid.scales) < 3:
        return [grid.scales[0]]
    smallest, median, largest = grid.scales
    reach = [largest * (end - grid.zero_point) for end in (grid.low, grid.high)]
    slack = 1e-3 * (reach[1] - reach[0])
    shared = abs(reach[0] - grid.covers.low) <= slack and abs(reach[1] - grid.covers.high) <= slack
    return [largest, median, smallest] if shared else [median]


def histogram(values: Histogram, grid: GridSummary | None, *, colour: str, ink: str, axis: str) -> go.Figure:
    """How many values lie where, counts on a logarithmic axis, above rulers of the values that they are rounded to.

    The ground is tinted where the grid reaches; bars beyond it have another colour. Channels with scales of their own
    have three rulers: the widest, the median and the finest grid.
    """
    low, high = _window(values, grid)
    scales = scales_of(grid) if grid else []
    floor = RULER * len(scales) + (0.03 if scales else 0)
    figure = go.Figure([_bars(values, grid, colour)])
    if grid:
        figure.add_traces([_ruler(grid, scale, at, (low, high), ink) for at, scale in enumerate(reversed(scales))])
    top = max(1, *values.counts)
    figure.update_layout(
        shapes=_ground(grid, floor, (low, high), colour, ink) if grid else [],
        annotations=_names(scales, ink),
        xaxis={"title": {"text": axis}, "range": [low, high], "zeroline": False, "showgrid": not grid,
               **({"anchor": "y2"} if grid else {})},
        yaxis={"title": {"text": "Values"}, "type": "log", "domain": [floor, 1], "range": _log_range(top),
               "dtick": 1 if top < 1e4 else 2, "exponentformat": "power", "zeroline": False},
        yaxis2={"domain": [0, max(0.001, RULER * len(scales))], "range": [0, max(1, len(scales))], "visible": False,
                "fixedrange": True},
        bargap=0,
    )  # fmt: skip
    framed(figure, height=HEIGHT + 14 * max(0, len(scales) - 1))
    return figure.update_layout(margin={"r": 52 if len(scales) > 1 else 8, "t": 6})


def _log_range(top: int) -> list[float]:
    from math import log10

    return [-0.3, log10(top) + 0.15]


def _window(values: Histogram, grid: GridSummary | None) -> tuple[float, float]:
    """The ends of the axis: all that was seen and all that is covered."""
    low, high = values.range.low, values.range.high
    if grid:
        low, high = min(low, grid.covers.low), max(high, grid.covers.high)
    spare = 0.02 * (high - low) or 0.5
    return low - spare, high + spare


def _bars(values: Histogram, grid: GridSummary | None, colour: str) -> go.Bar:
    width = (values.range.high - values.range.low) / len(values.counts) or 0.01
    left = [values.range.low + width * place for place in range(len(values.counts))]
    middles = [edge + width / 2 for edge in left]
    inside = [grid is None or grid.covers.low <= x <= grid.covers.high for x in middles]
    hover = [
        f"{edge:.3g} to {edge + width:.3g}<br>{count:,} values{'' if fits else ', clipped'}"
        for edge, count, fits in zip(left, values.counts, inside, strict=True)
    ]
    return go.Bar(
        x=middles, y=list(values.counts), width=width, hovertext=hover, hoverinfo="text", showlegend=False,
        marker={"color": [colour if fits else LOSS for fits in inside], "line": {"width": 0}},
    )  # fmt: skip


def _ruler(grid: GridSummary, scale: float, at: int, ends: tuple[float, float], ink: str) -> go.Scatter:
    """A line for each value of the grid, in the row `at` from below."""
    x: list[float | None] = []
    y: list[float | None] = []
    for value in thinned(values_of(grid, scale), *ends):
        x += [value, value, None]
        y += [at + 0.15, at + 0.85, None]
    return go.Scatter(
        x=x, y=y, yaxis="y2", mode="lines", line={"color": ink, "width": 1}, showlegend=False,
        hovertemplate="rounds to %{x:.4g}<extra></extra>",
    )  # fmt: skip


def _ground(grid: GridSummary, floor: float, ends: tuple[float, float], colour: str, ink: str) -> list[dict[str, Any]]:
    """The tint where the grid reaches, with its ends; with few values a line through the plot for each."""
    low, high = grid.covers.low, grid.covers.high
    up = {"yref": "paper", "y0": floor, "y1": 1}
    tint = {"type": "rect", "x0": low, "x1": high, "fillcolor": colour, "opacity": 0.13, "layer": "below", **up}
    line = {"type": "line", "layer": "above", **up}
    shapes = [{**tint, "line": {"width": 0}}]
    shapes += [{**line, "x0": x, "x1": x, "line": {"color": ink, "width": 1.5, "dash": "dash"}} for x in (low, high)]
    scale = scales_of(grid)[-1 if len(grid.scales) < 3 else len(scales_of(grid)) // 2]
    values = values_of(grid, scale)
    if len(values) <= FEW_VALUES:
        thin = {"color": ink, "width": 1}
        shapes += [{**line, "x0": x, "x1": x, "line": thin, "opacity": 0.55} for x in values if ends[0] <= x <= ends[1]]
    return shapes


def _names(scales: Sequence[float], ink: str) -> list[dict[str, Any]]:
    """What each ruler is, where there are several."""
    if len(scales) < 2:
        return []
    words = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 4, "yref": "y2", "showarrow": False}
    names = reversed(_RULERS[3])
    return [
        {**words, "y": row + 0.5, "text": name, "font": {"size": 10, "color": ink}} for row, name in enumerate(names)
    ]
