"""Variants in runtimes as a matrix that can be clicked, and where one of them diverges. Knows no streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from core.divergence import Comparison, Divergence
from ui.figures.frame import framed, log_ticks, shorten
from ui.figures.quantization import short_names

ROW_HEIGHT, LINE_HEIGHT, FRAME = 38, 16, 40
"""Pixels: of a row with one line, of each further line, and of what stands above the rows."""
GAP = 0.03
"""Between cells, as a share of one."""
LONGEST_LINE = 22
"""Characters of a variant's title beside its row."""
VERDICTS = {
    "light": {"same": "#75BD9F", "within": "#F1D89D", "differs": "#E78655"},
    "dark": {"same": "#157960", "within": "#8F6614", "differs": "#7A261F"},
}
"""Searched so that every pair, grey included, stays apart under protan-, deutan- and tritanopia; tests hold it so."""
NOTHING = {"light": "#ECEEF2", "dark": "#262C35"}
HATCH = {"light": "#D5DAE2", "dark": "#37404C"}
SHADES = {"light": ("#F1F5FC", "#9CC3F3"), "dark": ("#1D2836", "#1F5B9A")}
"""From the worst to the best of a measure."""
TEXT = {"light": "#1E293B", "dark": "#F1F5F9"}
WIDE = 8
"""Values further apart than this are shaded by their logarithms."""
PROBES_HEIGHT = 300
MOST_PROBES_NAMED, LEVEL = 30, 5
"""Of the tensors: those that are named, and up to how many names stand level."""
FLOOR = 1e-9
"""Stands for a difference of exactly zero on a logarithmic axis."""


@dataclass(frozen=True)
class Tile:
    """A cell as it is drawn."""

    lines: tuple[str, ...]
    hover: str
    verdict: str = ""
    """`same`, `within` or `differs` where that decides the colour."""
    shade: float | None = None
    """0 for the worst of its measure, 1 for the best, where that decides it."""
    hatched: bool = False
    """Whether it never can be filled here."""


def matrix(
    tiles: Sequence[Sequence[Tile]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    chosen: tuple[int, int] | None,
    dark: bool,
    row_height: int = ROW_HEIGHT,
    shades: tuple[str, str] | None = None,
) -> go.Figure:
    """A tile for each row and column; points carry both as `customdata`. The chosen one has a frame.

    `shades` are the colours of the shades 0 and 1, where they are not to run from the worst to the best.
    """
    mode = "dark" if dark else "light"
    ends = shades or SHADES[mode]
    most = max((len(_lines(tile)) for row in tiles for tile in row), default=1)
    places = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    flat = [tiles[row][column] for row, column in places]
    colours = [_colour(tile, mode, ends) for tile in flat]
    pattern = {
        "shape": ["/" if tile.hatched else "" for tile in flat], "fillmode": "replace", "size": 7, "solidity": 0.25,
        "bgcolor": colours, "fgcolor": [HATCH[mode] if tile.hatched else colour
                                        for tile, colour in zip(flat, colours, strict=True)],
    }  # fmt: skip
    bars = go.Bar(
        x=[column for _, column in places], base=[row - 0.5 + GAP for row, _ in places], y=[1 - 2 * GAP] * len(flat),
        width=1 - GAP, marker={"color": colours, "line": {"width": 0}, "pattern": pattern},
        unselected={"marker": {"opacity": 1}}, selected={"marker": {"opacity": 1}}, customdata=places,
        hovertext=[tile.hover for tile in flat], hoverinfo="text",
    )  # fmt: skip
    words = [_words(tile, row, column, TEXT[mode]) for tile, (row, column) in zip(flat, places, strict=True)]
    look: dict[str, Any] = {"showgrid": False, "zeroline": False, "fixedrange": True, "ticks": ""}
    figure = go.Figure([bars]).update_layout(
        annotations=words,
        shapes=[_frame(chosen, TEXT[mode])] if chosen else [],
        xaxis={"side": "top", "tickvals": list(range(len(columns))), "ticktext": [f"<b>{each}</b>" for each in columns],
               "range": [-0.52, len(columns) - 0.48], "tickfont": {"color": TEXT[mode]}, **look},
        yaxis={"tickvals": list(range(len(rows))), "ticktext": [_title(each) for each in rows],
               "range": [len(rows) - 0.48, -0.52], "automargin": True, "tickfont": {"color": TEXT[mode]}, **look},
        clickmode="event+select",
    )  # fmt: skip
    height = FRAME + (row_height + LINE_HEIGHT * (most - 1)) * len(rows)
    return framed(figure, height=height).update_layout(margin={"t": 30}, barmode="overlay")


def _lines(tile: Tile) -> list[str]:
    return [part for line in tile.lines for part in line.split("<br>")]


def _colour(tile: Tile, mode: str, ends: tuple[str, str]) -> str:
    if tile.shade is not None:
        return _between(*ends, tile.shade)
    return VERDICTS[mode].get(tile.verdict, NOTHING[mode])


def _between(start: str, end: str, share: float) -> str:
    pairs = ((int(start[at : at + 2], 16), int(end[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(one + share * (other - one)):02X}" for one, other in pairs)


def _words(tile: Tile, row: int, column: int, ink: str) -> dict[str, Any]:
    first, *others = tile.lines
    is_measured = bool(tile.verdict) or tile.shade is not None
    head = f"<b>{first}</b>" if is_measured else first
    small = [f"<span style='font-size:11px'>{line}</span>" for line in others]
    return {
        "x": column, "y": row, "text": "<br>".join((head, *small)), "showarrow": False, "captureevents": False,
        "font": {"size": 13 if is_measured else 12, "color": ink}, "opacity": 1 if is_measured else 0.8,
    }  # fmt: skip


def _frame(chosen: tuple[int, int], ink: str) -> dict[str, Any]:
    row, column = chosen
    return {
        "type": "rect", "x0": column - 0.5 + GAP / 2, "x1": column + 0.5 - GAP / 2, "y0": row - 0.5 + GAP,
        "y1": row + 0.5 - GAP, "line": {"color": ink, "width": 2.5}, "layer": "above",
    }  # fmt: skip


def _title(words: str) -> str:
    """A variant's title in lines of a few words, the last ones left out where it is very long."""
    lines = [""]
    for word in shorten(words, 3 * LONGEST_LINE).split():
        joined = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], joined] if len(joined) <= LONGEST_LINE else [*lines, word]
    return "<br>".join(line for line in lines if line) + " "


def shades(values: Sequence[float | None], *, less_is_better: bool) -> list[float | None]:
    """For each value from 0, the worst of them, to 1, the best; by logarithm where they lie far apart."""
    known = [value for value in values if value is not None]
    if not known:
        return list(values)
    by_log = min(known) > 0 and max(known) / min(known) > WIDE
    scaled = [value if value is None or not by_log else math.log(value) for value in values]
    there = [value for value in scaled if value is not None]
    low, high = min(there), max(there)

    def share(value: float) -> float:
        part = (value - low) / (high - low) if high > low else 0.5
        return 1 - part if less_is_better and high > low else part

    return [None if value is None else share(value) for value in scaled]


def probes(divergence: Divergence, *, ink: str, dark: bool) -> go.Figure:
    """The relative difference of each tensor that was asked for, in the order of the network, beside the tolerance.

    Discs are within it, crosses beyond; the first that diverges is named. What is not finite stands at the top.
    """
    shown = divergence.probed
    finite = [each.relative for each in shown if each.relative]
    low = max(FLOOR, min([*finite, divergence.tolerance]) / 3)
    high = 6 * max([*finite, divergence.tolerance])
    heights = [high / 1.5 if each.relative is None else max(each.relative, low) for each in shown]
    mode = "dark" if dark else "light"
    line = go.Scatter(
        x=list(range(len(shown))), y=heights, mode="lines", line={"color": ink, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )  # fmt: skip
    figure = go.Figure([line, *(_marks(shown, heights, mode, diverging=each) for each in (False, True))])
    step = -(-len(shown) // MOST_PROBES_NAMED)
    names = short_names([each.module or each.tensor for each in shown])
    ticks = list(range(0, len(shown), step))
    first = [place for place, each in enumerate(shown) if each.tensor == divergence.tensor]
    figure.update_layout(
        shapes=[{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": divergence.tolerance,
                 "y1": divergence.tolerance, "line": {"color": ink, "width": 1.5, "dash": "dash"}}],
        annotations=[
            {"xref": "paper", "x": 0, "xanchor": "left", "y": math.log10(divergence.tolerance), "yanchor": "bottom",
             "text": f"tolerance {100 * divergence.tolerance:.3g} %", "showarrow": False,
             "font": {"size": 11, "color": ink}},
            *(_pointer(place, heights[place], ink) for place in first),
            *(_not_finite(place, heights[place], ink) for place, each in enumerate(shown) if each.relative is None),
        ],
        xaxis={"tickvals": ticks, "ticktext": [names[place] for place in ticks], "range": [-0.6, len(shown) - 0.4],
               "tickangle": 0 if len(shown) <= LEVEL else -45, "tickfont": {"size": 11}, "automargin": True,
               "showgrid": False, "zeroline": False},
        yaxis={"type": "log", "title": {"text": "Relative difference (%)"}, "tickvals": log_ticks(low, high)[::3],
               "ticktext": [f"{100 * tick:.3g}" for tick in log_ticks(low, high)[::3]],
               "range": [math.log10(low) - 0.2, math.log10(high)], "zeroline": False},
    )  # fmt: skip
    return framed(figure, height=PROBES_HEIGHT).update_layout(margin={"t": 26})


def _marks(shown: Sequence[Comparison], heights: Sequence[float], mode: str, *, diverging: bool) -> go.Scatter:
    places = [place for place, each in enumerate(shown) if each.diverges == diverging]
    colour = VERDICTS[mode]["differs" if diverging else "same"]
    return go.Scatter(
        x=places, y=[heights[place] for place in places], mode="markers",
        marker={"color": colour, "size": 11, "symbol": "x" if diverging else "circle",
                "line": {"width": 1, "color": TEXT[mode]}},
        hovertext=[_probe_words(shown[place]) for place in places], hoverinfo="text",
    )  # fmt: skip


def _probe_words(probe: Comparison) -> str:
    off = "not finite" if probe.relative is None else f"{100 * probe.relative:.3g} % off"
    module = f"<br>in {shorten(probe.module, 60)}" if probe.module else ""
    return f"<b>{shorten(probe.tensor, 60)}</b>{module}<br>{off}"


def _pointer(place: int, height: float, ink: str) -> dict[str, Any]:
    return {
        "x": place, "y": math.log10(height), "text": "<b>begins here</b>", "ax": 0, "ay": -24, "showarrow": True,
        "arrowhead": 2, "arrowcolor": ink, "standoff": 8, "font": {"size": 12, "color": ink},
    }  # fmt: skip


def _not_finite(place: int, height: float, ink: str) -> dict[str, Any]:
    return {
        "x": place, "y": math.log10(height), "text": "not finite", "yshift": -16, "showarrow": False,
        "font": {"size": 11, "color": ink},
    }  # fmt: skip
