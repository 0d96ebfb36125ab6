"""The last minutes of the machine as small Apache ECharts options. Does not know streamlit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import pandas as pd

from profiling.telemetry import MachineSample

SHOWN_SECONDS = 300
GAP_SECONDS = 3
"""A longer silence is drawn as a gap."""
MANY_CORES = 32
"""With more, a core's bar bears no number."""

Point = tuple[float, float | None]
"""Seconds before the newest sample, negative, and a value; None where the line breaks."""


def history(samples: Sequence[MachineSample], value: Callable[[MachineSample], float | None]) -> list[Point]:
    """The mean of each second of the last five minutes; None between seconds that are far apart."""
    told = [(sample.at, figure) for sample in samples if (figure := value(sample)) is not None]
    if not told:
        return []
    newest, points = samples[-1].at, list[Point]()
    for second, group in groupby(told, key=lambda each: int(each[0])):
        before = points[-1][0] if points else None
        ago = second + 0.5 - newest
        if before is not None and ago - before > GAP_SECONDS:
            points.append(((before + ago) / 2, None))
        points.append((min(0.0, round(ago, 2)), fmean(figure for _, figure in group)))
    return [point for point in points if point[0] >= -SHOWN_SECONDS]


def sparkline(title: str, unit: str, points: Sequence[Point], *, colour: str, most: float | None) -> dict[str, Any]:
    """A small chart of the last five minutes; `most` is the fixed upper end of its axis, None lets it follow."""
    return {
        "animation": False,
        "title": _title(title),
        "grid": {"left": 4, "right": 18, "top": 30, "bottom": 2, "containLabel": True},
        "tooltip": {"trigger": "axis", "valueFormatter": f"%.1f {unit.replace('%', '%%')}"},
        "xAxis": {
            "type": "value",
            "min": -SHOWN_SECONDS / 60,
            "max": 0,
            "interval": 1,
            "splitLine": {"show": False},
            "axisLabel": {"formatter": "{value} min", "fontSize": 10, "hideOverlap": True},
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            "max": most,
            "splitNumber": 2,
            "axisLabel": {"formatter": f"{{value}} {unit}", "fontSize": 10, "showMaxLabel": most in (None, 100)},
        },
        "dataset": [{"source": pd.DataFrame([(at / 60, each) for at, each in points], columns=["minutes", "value"])}],
        "graphic": [] if points else [_words("not told")],
        "series": [
            {
                "type": "line",
                "name": title,
                "datasetIndex": 0,
                "encode": {"x": "minutes", "y": "value", "tooltip": ["value"]},
                "showSymbol": False,
                "connectNulls": False,
                "lineStyle": {"width": 1.5, "color": colour},
                "itemStyle": {"color": colour},
                "areaStyle": {"color": colour, "opacity": 0.12},
            }
        ],
    }


def cores(percents: Sequence[float], *, colour: str) -> dict[str, Any]:
    """A bar for each core."""
    return {
        "animation": False,
        "title": _title("Cores"),
        "grid": {"left": 4, "right": 8, "top": 30, "bottom": 2, "containLabel": True},
        "tooltip": {"trigger": "axis", "valueFormatter": "%.0f %%"},
        "xAxis": {
            "type": "category",
            "data": [str(number) for number in range(len(percents))],
            "axisTick": {"show": False},
            "axisLabel": {"show": len(percents) <= MANY_CORES, "fontSize": 10, "hideOverlap": True},
        },
        "yAxis": {
            "type": "value",
            "min": 0,
            "max": 100,
            "splitNumber": 2,
            "axisLabel": {"formatter": "{value} %", "fontSize": 10},
        },
        "graphic": [] if percents else [_words("not told")],
        "series": [
            {
                "type": "bar",
                "name": "busy",
                "data": [round(percent, 1) for percent in percents],
                "barMaxWidth": 18,
                "itemStyle": {"color": colour},
            }
        ],
    }


def _title(words: str) -> dict[str, Any]:
    return {"text": words, "left": 0, "top": 3, "padding": 0, "textStyle": {"fontSize": 12, "fontWeight": 600}}


def _words(words: str) -> dict[str, Any]:
    return {"type": "text", "left": "center", "top": "middle", "style": {"text": words, "fill": "#8A93A0"}}
