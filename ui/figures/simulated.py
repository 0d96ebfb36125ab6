"""Simulated number formats: accuracy over the bits that a weight would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from experiments.judging import of_frame
from ui.figures.frame import GREY, Colours, framed, shorten
from ui.figures.labels import Disc, Spot, place

HEIGHT, ABOVE, BELOW, LEGEND_ROW = 340, 14, 52, 22
"""Pixels of the figure; above and below its plot; of a line of its legend."""
PLOT_WIDTHS = (520, 960, 1500)
DISC = 11
IN_LEGEND = 48
"""Characters of a name in the legend."""
FEWEST_BITS = 9.0
"""The axis goes at least so far, so that 8 bits have room."""
FLAT_POINTS = 1.0
"""Where all are closer together than this, the accuracy axis does not zoom in further."""
ANCHORS = {-1: ("right", "bottom"), 0: ("center", "middle"), 1: ("left", "top")}


def over_bits(frame: pd.DataFrame, baseline: float | None, colours: Colours, *, ink: str) -> go.Figure:
    """A disc with its 95 % interval for each row of `experiments.compare.simulations`; the baseline is a grey line.

    `baseline` is its accuracy, 0 to 1. Names that find no place beside their disc are in a legend below.
    """
    across, up = (0.0, max(FEWEST_BITS, float(frame.weight_bits.max()) + 1)), _accuracies(frame, baseline)
    rows: list[Any] = list(frame.itertuples())
    spots = _spots(rows, across, up, baseline)
    title = of_frame(frame).title
    discs = [_disc(row, title, colours, in_legend=spot is None) for row, spot in zip(rows, spots, strict=True)]
    figure = go.Figure(discs)
    notes = [_name(row, spot, ink) for row, spot in zip(rows, spots, strict=True) if spot]
    if baseline is not None:
        figure.add_hline(y=100 * baseline, line={"color": GREY, "width": 2}, layer="below")
        notes.append(_baseline_words(baseline, ink))
    unplaced = sum(spot is None for spot in spots)
    figure.update_layout(
        xaxis={"title": "Bits per weight, scales included", "range": across, "dtick": 1, "zeroline": False},
        yaxis={"title": title, "range": up, "ticksuffix": " %", "zeroline": False},
        annotations=notes,
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )
    framed(figure, height=HEIGHT + LEGEND_ROW * -(-unplaced // 2), legend=unplaced > 0)
    return figure.update_layout(margin={"t": ABOVE})


def _accuracies(frame: pd.DataFrame, baseline: float | None) -> tuple[float, float]:
    """The ends of the accuracy axis in percent, with room for what is written there."""
    ends = [
        float(frame.accuracy_low.min()),
        float(frame.accuracy_high.max()),
        *([] if baseline is None else [baseline]),
    ]
    low, high = 100 * min(ends), 100 * max(ends)
    spare = 0.12 * max(FLAT_POINTS, high - low)
    return max(0.0, low - spare), high + spare


def _spots(
    rows: Sequence[Any], across: tuple[float, float], up: tuple[float, float], baseline: float | None
) -> list[Spot | None]:
    """Where names stand right beside their discs; None for those that find no place there."""

    def share(value: float, ends: tuple[float, float]) -> float:
        return (value - ends[0]) / (ends[1] - ends[0])

    discs, lines = [], []
    for row in rows:
        x = share(row.weight_bits, across)
        discs.append(Disc(x, share(100 * row.accuracy, up), DISC / 2, _lines_of(row.title)))
        lines.append((x, share(100 * row.accuracy_low, up), x, share(100 * row.accuracy_high, up)))
    if baseline is not None:
        height = share(100 * baseline, up)
        lines.append((0.0, height, 1.0, height))
    found = place(discs, widths=PLOT_WIDTHS, height=HEIGHT - ABOVE - BELOW, lines=lines)
    return [None if spot is None or spot.is_far else spot for spot in found]


def _lines_of(title: str) -> tuple[str, ...]:
    """What weights became and, below it, activations; before them what else was done."""
    weights, plus, activations = title.rpartition(" + ")
    return (shorten(weights), shorten(plus.lstrip() + activations)) if plus else (shorten(title),)


def _disc(row: Any, title: str, colours: Colours, *, in_legend: bool) -> go.Scatter:
    colour = colours.get(row.digest, GREY)
    size = f"{row.size_bytes / 2**20:.2f} MiB, computed"
    words = (
        f"<b>{shorten(row.title, 60)}</b><br>{title} {100 * row.accuracy:.2f} %, simulated<br>"
        f"{row.weight_bits:.2f} bits per weight<br>All parameters {size}"
    )
    interval = {
        "array": [100 * (row.accuracy_high - row.accuracy)],
        "arrayminus": [100 * (row.accuracy - row.accuracy_low)],
        "thickness": 1.4,
        "width": 4,
        "color": colour,
    }
    return go.Scatter(
        x=[row.weight_bits], y=[100 * row.accuracy], mode="markers", error_y=interval, hovertext=words,
        marker={"color": colour, "size": DISC}, name=shorten(row.title, IN_LEGEND), showlegend=in_legend,
        hoverinfo="text",
    )  # fmt: skip


def _name(row: Any, spot: Spot, ink: str) -> dict[str, Any]:
    return {
        "x": row.weight_bits, "y": 100 * row.accuracy, "text": "<br>".join(_lines_of(row.title)),
        "align": ANCHORS[spot.right][0], "font": {"size": 12, "color": ink},
        "xanchor": ANCHORS[spot.right][0], "yanchor": ANCHORS[spot.down][1], "borderpad": 0,
        "showarrow": False, "xshift": spot.dx, "yshift": -spot.dy,
    }  # fmt: skip


def _baseline_words(baseline: float, ink: str) -> dict[str, Any]:
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "y": 100 * baseline, "yanchor": "bottom", "showarrow": False,
        "text": f"FP32 baseline {100 * baseline:.2f} %", "font": {"size": 12, "color": ink}, "xshift": 6,
    }  # fmt: skip
