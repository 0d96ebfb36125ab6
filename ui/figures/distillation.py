"""A taught student: what the teacher added seed by seed, softened answers, and where both disagree. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.packed import Numbers
from ui.figures.classes import DARK, LIGHT, TEXT_DARK, TEXT_LIGHT
from ui.figures.frame import GREY, framed, shorten

SEED_HEIGHT, AXIS_HEIGHT = 40, 70
MOST_CLASSES = 20
"""Of a map; of more those that are disputed most."""
MOST_BARS = 12
"""Classes of one answer; of more those that are likeliest."""
CELL_HEIGHT, MAP_HEAD = 32, 84
BAR_ROW, BAR_FRAME = 34, 96
LONGEST_NAME = 16
SLANTED = 46
"""Pixels that the last column's slanted title reaches beyond the map."""
SMALLEST_PERCENT = 1e-4
"""Where a logarithmic axis begins."""


def seed_gains(seeds: pd.DataFrame, *, colour: str, ink: str) -> go.Figure:
    """A row a seed: the accuracy in % of the student alone (grey) and taught (coloured), and a line between.

    `seeds` has `seed`, `alone` and `taught` (both in %) and `points`, the difference.
    """
    rows = list(range(len(seeds)))
    bridges = go.Scatter(
        x=[x for pair in zip(seeds.alone, seeds.taught, strict=True) for x in (*pair, None)],
        y=[y for row in rows for y in (row, row, None)], mode="lines", line={"color": ink, "width": 1.5},
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    figure = go.Figure(
        [bridges, _dots(seeds.alone, rows, GREY, "Alone"), _dots(seeds.taught, rows, colour, "With the teacher")]
    )
    figure.update_layout(
        annotations=[_points(row, seeds.iloc[row], ink) for row in rows],
        xaxis={"title": {"text": "Test accuracy (%)"}, "zeroline": False, "range": _around(seeds)},
        yaxis={"tickvals": rows, "ticktext": [f"Seed {seed}" for seed in seeds.seed], "zeroline": False,
               "range": [len(rows) - 0.5, -0.5], "showgrid": False},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip
    return framed(figure, height=AXIS_HEIGHT + 24 + SEED_HEIGHT * len(rows), legend=True)


def _dots(values: pd.Series[float], rows: Sequence[int], colour: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=values, y=list(rows), mode="markers", marker={"size": 13, "color": colour}, name=name,
        hovertemplate=f"{name}: %{{x:.2f}} %<extra></extra>",
    )  # fmt: skip


def _points(row: int, seed: pd.Series[Any], ink: str) -> dict[str, Any]:
    return {
        "x": max(seed.alone, seed.taught), "y": row, "text": f"<b>{seed.points:+.2f} points</b>", "xanchor": "left",
        "xshift": 12, "showarrow": False, "font": {"size": 12, "color": ink},
    }  # fmt: skip


def _around(seeds: pd.DataFrame) -> list[float]:
    """From a little before the lowest dot to where the words after the highest end."""
    low, high = (float(end) for end in (seeds[["alone", "taught"]].min().min(), seeds[["alone", "taught"]].max().max()))
    spread = max(high - low, 0.2)
    return [low - 0.15 * spread, high + 0.35 * spread]


def answer_bars(bars: pd.DataFrame, *, colour: str, log: bool) -> dict[str, Any]:
    """One image's probabilities as an Apache ECharts option, whose bars move when the temperature does.

    `bars` has `title`, `teacher` and `student` (in %) and `is_label`; the teacher is grey, the label's class ticked.
    """
    scale = (
        {"type": "log", "min": SMALLEST_PERCENT, "startValue": SMALLEST_PERCENT} if log else {"type": "value", "min": 0}
    )
    rows = [
        {"value": f"✓ {title}" if is_label else title, "textStyle": {"fontWeight": 700 if is_label else 400}}
        for title, is_label in zip(bars.title, bars.is_label, strict=True)
    ]
    return {
        "animationDuration": 0,
        "animationDurationUpdate": 150,
        "legend": {"left": 0, "top": 0, "itemWidth": 14, "itemHeight": 8, "data": ["Teacher", "Student"]},
        "grid": {"left": 4, "right": 62, "top": 30, "bottom": 4, "containLabel": True},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}, "valueFormatter": "%.4f %%"},
        "xAxis": {**scale, "max": 100, "axisLabel": {"formatter": "{value} %", "hideOverlap": True}},
        "yAxis": {"type": "category", "inverse": True, "data": rows, "axisTick": {"show": False}},
        "series": [_bars("Teacher", bars.teacher, GREY), _bars("Student", bars.student, colour)],
    }


def _bars(name: str, percent: pd.Series[float], colour: str) -> dict[str, Any]:
    values = [
        {"value": max(float(value), SMALLEST_PERCENT), "label": {"formatter": percent_in_words(value)}}
        for value in percent
    ]
    return {
        "type": "bar", "name": name, "data": values, "itemStyle": {"color": colour}, "barGap": "10%",
        "label": {"show": True, "position": "right", "fontSize": 10},
    }  # fmt: skip


def percent_in_words(percent: float) -> str:
    """Two or three digits, however small.

    >>> percent_in_words(97.31), percent_in_words(0.0214), percent_in_words(0)
    ('97.3 %', '0.021 %', '< 0.0001 %')
    """
    if percent < SMALLEST_PERCENT:
        return f"< {SMALLEST_PERCENT:.4f} %"
    return f"{percent:.1f} %" if percent >= 1 else f"{float(f'{percent:.2g}'):.4f}".rstrip("0") + " %"


def bars_height(rows: int) -> int:
    """Pixels that `answer_bars` of so many classes needs."""
    return BAR_FRAME + BAR_ROW * rows


def shown_classes(teacher: Numbers, student: Numbers, labels: Sequence[int]) -> list[int]:
    """The classes of one answer that are drawn, ascending: all of few, else the likeliest of both and the labels."""
    if len(teacher) <= MOST_BARS:
        return list(range(len(teacher)))
    ranked = np.argsort(-np.maximum(teacher, student), kind="stable")
    return sorted({*labels, *ranked[: MOST_BARS - len(labels)].tolist()})


def disputed(confusion: NDArray[np.int64]) -> list[int]:
    """The classes of a map, ascending: all of few, else those that are on either side of most disagreements."""
    if len(confusion) <= MOST_CLASSES:
        return list(range(len(confusion)))
    others = confusion - np.diag(np.diag(confusion))
    ranked = np.argsort(-(others.sum(axis=0) + others.sum(axis=1)), kind="stable")
    return sorted(ranked[:MOST_CLASSES].tolist())


def disagreements(confusion: NDArray[np.int64], names: Sequence[str], *, ink: str, dark: bool) -> go.Figure:
    """Images by the teacher's class (rows) and the student's (columns); the diagonal, where they agree, is muted."""
    kept = disputed(confusion)
    counts = confusion[np.ix_(kept, kept)]
    is_same = np.eye(len(kept), dtype=bool)
    titles = [shorten(names[each], LONGEST_NAME) for each in kept]
    words = np.where(counts, [[f"{count:,}" for count in row] for row in counts], "")
    hover = [[_pair(names[row], names[column], confusion[row, column]) for column in kept] for row in kept]
    _, low, high = DARK if dark else LIGHT
    cells = go.Heatmap(
        z=np.where(is_same, np.nan, counts), text=np.where(is_same, "", words), texttemplate="%{text}", xgap=2, ygap=2,
        hovertext=hover, hoverinfo="text", colorscale=[(0, low), (1, high)], zmin=0,
        zmax=max(1, int(np.where(is_same, 0, counts).max(initial=0))), showscale=False, hoverongaps=True,
        textfont={"size": 12, "color": TEXT_DARK if dark else TEXT_LIGHT},
    )  # fmt: skip
    figure = go.Figure(cells)
    look: dict[str, Any] = {
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "tickfont": {"color": ink, "size": 11},
        "ticklabeloverflow": "allow",
    }
    places = list(range(len(kept)))
    figure.update_layout(
        annotations=[_muted(place, words[place, place]) for place in places],
        xaxis={"side": "top", "title": {"text": "Student answers"}, "tickvals": places, "ticktext": titles,
               "tickangle": -40, **look},
        yaxis={"autorange": "reversed", "title": {"text": "Teacher answers"}, "tickvals": places, "ticktext": titles,
               **look},
    )  # fmt: skip
    framed(figure, height=MAP_HEAD + CELL_HEIGHT * len(kept))
    return figure.update_layout(margin={"r": SLANTED})


def _pair(teacher: str, student: str, count: int) -> str:
    images = f"{count:,} image{'' if count == 1 else 's'}"
    if teacher == student:
        return f"Both answer <b>{shorten(teacher)}</b>: {images}"
    return f"Teacher <b>{shorten(teacher)}</b>, student <b>{shorten(student)}</b>: {images}"


def _muted(place: int, words: str) -> dict[str, Any]:
    return {"x": place, "y": place, "text": words, "showarrow": False, "font": {"size": 11, "color": GREY}}
