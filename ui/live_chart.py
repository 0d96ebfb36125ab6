"""A live curve as an Apache ECharts option, which unlike a plotly chart keeps its place when its data grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ui.curves import Band, Curve, CurveKind, in_fitting_unit

GREY = "#8A93A0"
FULL_PRECISION = "FP32"
"""A series that others are compared with, which is always grey."""
FEW_POINTS = 12
"""Up to so many are marked one by one."""
AMBER = "217, 119, 6"
SLATE = "138, 147, 160"
LETTER_SHARE = 0.023
"""Of the width of a narrow chart, what a letter of a phase's title takes."""


def option(
    kind: CurveKind,
    curves: Sequence[Curve],
    *,
    seconds: float,
    colours: Sequence[str],
    live: bool,
    bands: Sequence[Band] = (),
    end: float | None = None,
) -> dict[str, Any]:
    """The chart of one kind of curve over a run's seconds. Curves of one series share a colour and a legend entry.

    Without a point it says so; `live` tells whether one may still come. The `bands` are shaded behind every chart
    that spans the whole run, alike in all of them. `end` is when the run ended, where that is known: the time axis
    ends there, and else leaves room after `seconds`.
    """
    kind, curves = in_fitting_unit(kind, curves)
    span = _time_span(kind, curves, _axis_end(seconds) if end is None else _rounded_up(end))
    names = list(dict.fromkeys(_name(kind, curve) for curve in curves))
    coloured = [name for name in names if not name.endswith(FULL_PRECISION)]
    colour_of = dict.fromkeys(names, GREY) | {
        name: colours[index % len(colours)] for index, name in enumerate(coloured)
    }
    return {
        "animation": False,
        "title": {
            "text": kind.title,
            "left": 0,
            "top": 3,
            "padding": 0,
            "textStyle": {"fontSize": 13, "fontWeight": 600},
        },
        "grid": {"left": 8, "right": 24, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {"show": len(names) > 1, "right": 0, "top": 0, "itemWidth": 14, "itemHeight": 8, "data": names},
        "tooltip": {"trigger": "axis", "valueFormatter": f"%.2f {kind.unit.replace('%', '%%')}".strip()},
        "xAxis": {"type": "value", "axisLabel": {"formatter": "{value} s"}, "splitLine": {"show": False}} | span,
        "yAxis": {
            "type": "value",
            "scale": kind.bounds[0] is None,
            "axisLabel": {"formatter": f"{{value}} {kind.unit}".strip()},
        }
        | _value_span(kind, curves),
        "dataset": [{"source": pd.DataFrame(curve.points, columns=["seconds", "value"])} for curve in curves],
        "graphic": [] if curves else [_words_in_the_middle("not measured yet" if live else "not measured in this run")],
        "series": [_line(number, curve, _name(kind, curve), colour_of) for number, curve in enumerate(curves)]
        + [_shades([] if kind.is_brief else bands, span["max"])],
    }


def _shades(bands: Sequence[Band], axis_end: float) -> dict[str, Any]:
    """A series without a line that carries the phases: every other one shaded, the timed ones tinted and edged.

    A title is written above the plot where it fits, and else on hovering.
    """
    areas = [_shade(number, band, axis_end) for number, band in enumerate(bands)]
    return {
        "type": "line",
        "data": [],
        "markArea": {"data": areas, "animation": False},
    }


def _shade(number: int, band: Band, axis_end: float) -> list[dict[str, Any]]:
    colour = f"rgba({AMBER}, 0.13)" if band.timed else f"rgba({SLATE}, {0.13 if number % 2 == 0 else 0})"
    style: dict[str, Any] = {"color": colour}
    if band.timed:
        style |= {"borderColor": f"rgba({AMBER}, 0.55)", "borderWidth": 1, "borderType": "dashed"}
    fits = (band.end - band.start) / axis_end > LETTER_SHARE * len(band.title)
    label = {"show": fits, "position": "top", "color": GREY, "fontSize": 10}
    pointed_at = {"label": {**label, "show": True}, "itemStyle": style}
    start = {"name": band.title, "xAxis": band.start, "itemStyle": style, "label": label, "emphasis": pointed_at}
    return [start, {"xAxis": band.end}]


def _name(kind: CurveKind, curve: Curve) -> str:
    return curve.series or kind.title


def _line(number: int, curve: Curve, name: str, colour_of: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "datasetIndex": number,
        "encode": {"x": "seconds", "y": "value", "tooltip": ["value"]},
        "showSymbol": len(curve.points) <= FEW_POINTS,
        "symbolSize": 5,
        "lineStyle": {"width": 2, "color": colour_of[name]},
        "itemStyle": {"color": colour_of[name]},
    }


def _words_in_the_middle(words: str) -> dict[str, Any]:
    return {"type": "text", "left": "center", "top": "middle", "style": {"text": words, "fill": GREY, "fontSize": 12}}


def _value_span(kind: CurveKind, curves: Sequence[Curve]) -> dict[str, float | None]:
    """The ends of the value axis that are fixed; None follows the values."""
    values = [value for curve in curves for _, value in curve.points if math.isfinite(value)]
    if not values:
        return {"max": kind.bounds[1]}
    low, high = min(values), max(values)
    least = kind.least_share * (low + high) / 2
    if high - low < least:
        return _widened((low + high) / 2, least)
    return {"max": _value_end(kind, low, high)}


def _value_end(kind: CurveKind, low: float, high: float) -> float | None:
    """The fixed upper end of the value axis: its limit where a chart would leave room beyond it."""
    if kind.limit is None:
        return kind.bounds[1]
    return kind.limit if low == high or high + (high - low) > kind.limit else None


def _widened(middle: float, span: float) -> dict[str, float | None]:
    """Round ends that lie at least a span apart, around the middle."""
    digits = -math.floor(math.log10(span))
    step = 10.0**-digits
    low, high = math.floor((middle - span / 2) / step), math.ceil((middle + span / 2) / step)
    return {"min": round(low * step, max(0, digits)), "max": round(high * step, max(0, digits))}


def _time_span(kind: CurveKind, curves: Sequence[Curve], end: float) -> dict[str, float]:
    if kind.is_brief and curves:
        return {"min": math.floor(curves[0].points[0][0]), "max": math.ceil(curves[-1].points[-1][0])}
    return {"min": 0, "max": end}


def _axis_end(seconds: float) -> float:
    """An end of the time axis that moves seldom: 5, 10, 20, 30 s, then whole minutes."""
    return next((end for end in (5, 10, 20, 30) if seconds <= end), 60 * -(-seconds // 60))


def _rounded_up(seconds: float) -> float:
    """To whole seconds, to tenths below ten."""
    return float(math.ceil(seconds)) if seconds > 10 else max(0.1, math.ceil(10 * seconds) / 10)
