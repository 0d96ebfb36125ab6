"""Measures side by side as bars."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from experiments.judging import of_frame
from ui import text
from ui.figures.frame import FADED, GREY, LONGEST_TITLE, Colours, brief_titles, framed, log_ticks, shorten

ROW_HEIGHT = 46
"""Pixels for a variant in a panel: a line of words and its bar."""
PANEL_FRAME = 30
"""Pixels of a panel beside its rows, for the axis."""
FAR_APART = 30
"""Where the longest bar would be so many times the shortest, discs on a logarithmic axis keep all of them in sight."""
MOST_TICKS = 7
"""That fit below a panel."""
LONGEST = LONGEST_TITLE - 4
"""Characters of a title that fit beside the value, the same in all panels."""
NONE: pd.Series[Any] = pd.Series(dtype=float)
MORE, LESS = "higher is better", "lower is better"


@dataclass(frozen=True)
class Panel:
    """One measure as bars side by side."""

    title: str
    column: str
    unit: str
    scale: float = 1.0
    """What a stored value is multiplied by to be in that unit."""
    decimals: int = 2
    better: str = LESS
    second: str = ""
    """A further column drawn as a paler bar behind the first, such as p95 behind p50."""
    is_nested: bool = False
    """Whether the second is a part of the first, which then is the paler bar."""
    low: str = ""
    high: str = ""
    """Columns of the ends of the 95 % interval."""
    zoomed: bool = False
    """Whether the axis may begin above 0, which the figure then says."""
    may_be_logarithmic: bool = False
    """Whether the axis may be logarithmic, which the figure then says."""
    solid: str = ""
    """What the bar that is not pale shows, where there are two."""

    @property
    def suffix(self) -> str:
        """What a number on the axis carries."""
        return " %" if self.unit == "%" else ""

    def show(self, value: float) -> str:
        """A stored value in words."""
        return f"{value * self.scale:,.{self.decimals}f}"


def panels(frame: pd.DataFrame) -> list[Panel]:
    """The measures to compare, in units that fit the values."""
    size_scale, size_unit = _byte_unit(frame.size_bytes)
    memory_scale, memory_unit = _byte_unit(frame.memory_bytes)
    energy = [Panel("Energy per inference", "joules", "mJ", 1000)] if frame.get("joules", NONE).notna().any() else []
    best = frame.get("best_throughput_per_s", NONE).notna().any()
    judging = of_frame(frame)
    pace = f"{judging.unit}/s"
    return [
        Panel(
            judging.title, "accuracy", "%", 100, better=MORE, low="accuracy_low", high="accuracy_high", zoomed=True
        ),
        Panel(
            "Latency p50 / p95", "p50_ms", "ms", decimals=time_digits(frame), second="p95_ms", low="p50_low_ms",
            high="p50_high_ms", may_be_logarithmic=True, solid="p50",
        ),
        Panel(
            "Size / compressed", "size_bytes", size_unit, size_scale, second="gzip_bytes", is_nested=True,
            solid="compressed",
        ),
        Panel("Throughput, best batch", "best_throughput_per_s", pace, decimals=0, better=MORE)
        if best
        else Panel("Throughput", "throughput_per_s", pace, decimals=0, better=MORE),
        Panel("Memory", "memory_bytes", memory_unit, memory_scale, decimals=1),
        Panel("Multiply-accumulates", "macs", "million", 1e-6, decimals=1),
        *energy,
    ]  # fmt: skip


def time_digits(frame: pd.DataFrame) -> int:
    """Decimals of a time in ms: one more where three would leave the quickest variant only two digits."""
    return 4 if frame.p50_ms.min() < text.FEW_MICROSECONDS else 3


def _byte_unit(values: pd.Series[Any]) -> tuple[float, str]:
    largest = values.max()
    for unit, name in ((text.GIB, "GiB"), (text.MIB, "MiB")):
        if largest >= unit:
            return 1 / unit, name
    return 1 / text.KIB, "KiB"


def bars(frame: pd.DataFrame, panel: Panel, colours: Colours, *, ink: str) -> go.Figure:
    """A bar for each variant, its title and value written above it, so that nothing can overlap.

    Discs where the axis is logarithmic: the length of a bar that does not begin at 0 means nothing.
    """
    shown = frame.reset_index(drop=True).assign(title=brief_titles(frame).to_numpy())
    start, end = _axis_range(shown, panel)
    rows = -shown.index.to_numpy()
    figure = go.Figure(_marks(shown, panel, colours, ink))
    if panel.low:
        figure.add_trace(_interval(shown, panel, rows - 0.27, ink))
    words: list[dict[str, Any]] = []
    for row, (_, variant) in zip(rows, shown.iterrows(), strict=True):
        words.append(_words(row, shorten(str(variant.title), LONGEST), x=0, anchor="left", ink=ink))
        words.append(_words(row, _value_text(variant, panel), x=1, anchor="right", ink=ink))
    figure.update_layout(annotations=words)  # one by one, each would have plotly check all before it again
    figure.update_xaxes(zeroline=False, ticksuffix=panel.suffix, **_axis(start, end, is_logarithmic(shown, panel)))
    figure.update_yaxes(visible=False, range=[-len(shown) + 0.62, 0.72], fixedrange=True)
    return framed(figure, height=PANEL_FRAME + ROW_HEIGHT * len(shown))


def _marks(frame: pd.DataFrame, panel: Panel, colours: Colours, ink: str) -> list[go.Bar | go.Scatter]:
    """The panel's measure, and behind it or upon it the second one, where there is one; the one in front comes last."""
    tints = [colours.get(digest, GREY) for digest in frame.digest]
    draw = _discs if is_logarithmic(frame, panel) else _bars
    hover = {
        "customdata": frame.title.map(shorten),
        "hovertemplate": f"%{{customdata}}<br>%{{x:,.{panel.decimals}f}} {panel.unit}<extra></extra>",
    }
    first = draw(frame, panel, panel.column, {"color": tints, "opacity": FADED if panel.is_nested else 1}, ink)
    found = [first.update(hover)]
    if panel.second:
        look = {"color": tints, "opacity": 1 if panel.is_nested else FADED}
        found.append(draw(frame, panel, panel.second, look, ink).update(hoverinfo="skip"))
    return found if panel.is_nested else found[::-1]


def _bars(frame: pd.DataFrame, panel: Panel, column: str, look: dict[str, Any], ink: str) -> go.Bar:
    start, _ = _axis_range(frame, panel)
    values = frame[column].astype(float) * panel.scale
    marker = {**look, "pattern": _hatching(frame, ink)}
    return go.Bar(x=values - start, base=start, y=-frame.index, orientation="h", width=0.32, marker=marker)


def _discs(frame: pd.DataFrame, panel: Panel, column: str, look: dict[str, Any], ink: str) -> go.Scatter:
    """Diamonds for variants of other models."""
    values = frame[column].astype(float) * panel.scale
    symbols = ["diamond" if each else "circle" for each in _is_beside(frame)]
    marker = {**look, "symbol": symbols, "size": 12, "line": {"color": ink, "width": 1}}
    return go.Scatter(x=values, y=-frame.index, mode="markers", marker=marker)


def _is_beside(frame: pd.DataFrame) -> list[bool]:
    return frame.get("is_beside", NONE).tolist() or [False] * len(frame)


def _hatching(frame: pd.DataFrame, ink: str) -> dict[str, Any]:
    """Lines across the bars of variants of other models, whose colours may be those of the chosen model's."""
    shapes = ["/" if each else "" for each in _is_beside(frame)]
    return {"shape": shapes, "fillmode": "overlay", "fgcolor": ink, "fgopacity": 0.5, "size": 7, "solidity": 0.2}


def _words(row: float, words: str, *, x: float, anchor: str, ink: str) -> dict[str, Any]:
    font = {"size": 12, "color": ink}
    place = {"x": x, "xref": "x domain", "y": row + 0.42, "xanchor": anchor, "yanchor": "middle"}
    return {"text": words, "showarrow": False, "font": font, **place}


def _value_text(variant: pd.Series[Any], panel: Panel) -> str:
    value = variant[panel.column]
    if pd.isna(value):
        return "not measured"
    words = f"<b>{panel.show(value)}</b>"
    if panel.second:
        second = variant[panel.second]
        words += " / " + ("n too small" if pd.isna(second) else panel.show(second))
    return words


def remark(frame: pd.DataFrame, panel: Panel) -> str:
    """What belongs beside a panel's title: unit, which way is better, which bar is which, and an unusual axis."""
    start, _ = _axis_range(frame, panel)
    solid = f", solid: {panel.solid}" if panel.solid else ""
    if is_logarithmic(frame, panel):
        return f"{panel.unit}, {panel.better}{solid}, logarithmic axis"
    zoom = f", axis begins at {start:g} {panel.unit}" if start else ""
    return f"{panel.unit}, {panel.better}{solid}{zoom}"


def is_logarithmic(frame: pd.DataFrame, panel: Panel) -> bool:
    """Whether bars would leave nothing to see of the shortest."""
    if not panel.may_be_logarithmic:
        return False
    lowest, highest = _reach(frame, panel)
    return 0 < lowest * FAR_APART < highest


def _reach(frame: pd.DataFrame, panel: Panel) -> tuple[float, float]:
    """The shortest bar and the farthest point drawn, in the panel's unit."""
    columns = [name for name in (panel.column, panel.second, panel.high) if name]
    lowest, highest = frame[panel.column].astype(float).min(), frame[columns].astype(float).max().max()
    return float(lowest) * panel.scale, float(highest) * panel.scale


def _axis(start: float, end: float, is_logarithmic: bool) -> dict[str, Any]:
    """How the axis looks from start to end."""
    if not is_logarithmic:
        return {"range": [start, end], "nticks": 5}
    ticks = [tick for tick in log_ticks(start, end) if start <= tick <= end]
    if len(ticks) > MOST_TICKS:
        ticks = [tick for tick in ticks if round(log10(tick), 6).is_integer()]
    ends = [log10(start), log10(end)]
    return {"type": "log", "range": ends, "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}


def _axis_range(frame: pd.DataFrame, panel: Panel) -> tuple[float, float]:
    """From 0 to a little beyond the longest bar; for a zoomed panel from a round number below the lowest interval.

    A logarithmic axis has no 0: it begins at the round number (1, 2 or 5) below half of the shortest value.
    """
    shortest, highest = _reach(frame, panel)
    highest = highest if highest > 0 else 1.0
    if is_logarithmic(frame, panel):
        return max(tick for tick in log_ticks(shortest / 10, shortest) if tick <= shortest / 2), highest * 1.3
    if not panel.zoomed:
        return 0.0, highest * 1.04
    lowest = float(frame[panel.low].min()) * panel.scale
    step = next(step for step in (0.5, 1, 2, 5, 10, 20) if (highest - lowest) / step <= 8 or step == 20)
    start = max(0.0, (lowest - step) // step * step)
    return start, min(100.0, highest + (highest - start) * 0.04)


def _interval(frame: pd.DataFrame, panel: Panel, rows: Any, ink: str) -> go.Scatter:
    """The 95 % intervals, beneath the bars and not on them, where some colours would swallow them."""
    values = frame[panel.column].astype(float)
    return go.Scatter(
        x=values * panel.scale,
        y=rows,
        mode="markers",
        marker={"color": ink, "size": 4},
        hoverinfo="skip",
        error_x={
            "array": (frame[panel.high].astype(float) - values) * panel.scale,
            "arrayminus": (values - frame[panel.low].astype(float)) * panel.scale,
            "thickness": 1.2,
            "width": 3,
            "color": ink,
        },
    )
