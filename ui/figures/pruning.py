"""A pruned network layer by layer: widths, which channels went, how important they were. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from core.pruning import ChannelGroup, PruningReport
from experiments.pruning import Prediction, removed, scores
from ui.figures.frame import GREY, framed, shorten
from ui.figures.quantization import short_names

HEIGHT, ROW_HEIGHT, AXIS_HEIGHT = 330, 19, 56
MOST_ROWS = 60
"""Of layers; where there are more, layers that lose the same channels share a row."""
MOST_CELLS = 128
"""Of a row of channels; in a wider layer each cell stands for several."""
BINS = 40
GONE = "rgba(138,147,160,0.28)"
_LEGEND = {"orientation": "h", "x": 0, "y": 1.1, "yanchor": "bottom"}


@dataclass(frozen=True)
class Row:
    """A layer, or layers that lose the same channels, as one row of a figure."""

    name: str
    before: int
    after: int
    group: ChannelGroup | None
    """None where its outputs all stay."""
    why_kept: str


def rows_of(report: PruningReport) -> list[Row]:
    """One row a layer with weights in the order of execution; one a group of layers where that would be too many."""
    layers = [each for each in report.layers if each.parameters_before]
    if len(layers) <= MOST_ROWS:
        return [
            Row(each.name, each.outputs_before, each.outputs_after,
                None if each.out_group is None else report.groups[each.out_group], each.why_kept)
            for each in layers
        ]  # fmt: skip
    return [Row(each.layers[0], each.before, each.after, each, "") for each in report.groups if each.prunable]


def widths(rows: Sequence[Row], *, colour: str, ink: str) -> go.Figure:
    """For each row a grey bar of its channels before and a thin one of those after, with both numbers beside it."""
    places = list(range(len(rows)))
    hover = [_width_words(row) for row in rows]
    figure = go.Figure(
        [
            _bars([row.before for row in rows], places, GREY, 0.72, "Before", hover),
            _bars([row.after for row in rows], places, colour, 0.36, "After", hover),
        ]
    )
    most = max((row.before for row in rows), default=1)
    figure.update_layout(
        annotations=[
            {"x": row.before, "y": place, "xanchor": "left", "xshift": 5, "showarrow": False,
             "text": f"{row.before} → {row.after}" if row.after != row.before else f"{row.before}",
             "font": {"size": 11, "color": ink}}
            for place, row in enumerate(rows)
        ],
        xaxis={"title": {"text": "Output channels"}, "side": "top", "range": [0, 1.24 * most], "zeroline": False},
        yaxis=_named(rows),
    )  # fmt: skip
    return framed(figure, height=height_of(rows))


def height_of(rows: Sequence[Row]) -> int:
    """Pixels of a figure of so many rows."""
    return AXIS_HEIGHT + ROW_HEIGHT * len(rows)


def _width_words(row: Row) -> str:
    change = f"{row.before:,} → {row.after:,} channels" if row.after != row.before else f"all {row.before:,} channels"
    reason = f"<br>{shorten(row.why_kept, 90)}" if row.why_kept and row.after == row.before else ""
    return f"<b>{shorten(row.name, 60)}</b><br>{change}{reason}"


def _bars(
    values: Sequence[int], places: Sequence[int], colour: str, width: float, name: str, hover: Sequence[str]
) -> go.Bar:
    return go.Bar(
        x=list(values), y=list(places), orientation="h", width=width, name=name, hovertext=list(hover),
        hoverinfo="text", marker={"color": colour, "line": {"width": 0}},
    )  # fmt: skip


def _named(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(rows))), "ticktext": short_names([row.name for row in rows]),
        "range": [len(rows) - 0.4, -0.6], "automargin": True, "showgrid": False, "zeroline": False,
        "tickfont": {"size": 11},
    }  # fmt: skip


def channel_map(rows: Sequence[Row], *, colour: str) -> go.Figure:
    """A row of cells for each row: kept channels in the variant's colour, those gone light grey.

    A cell of a layer with more than `MOST_CELLS` channels stands for several, tinted by the share that stays.
    """
    cells = [_cells(row) for row in rows]
    longest = max((len(shares) for shares, _ in cells), default=1)
    figure = go.Figure(
        go.Heatmap(
            z=[[*shares, *[None] * (longest - len(shares))] for shares, _ in cells],
            hovertext=[[*words, *[""] * (longest - len(words))] for _, words in cells],
            hoverinfo="text", zmin=0, zmax=1, colorscale=[[0, GONE], [1, colour]], showscale=False, xgap=1, ygap=3,
            hoverongaps=False,
        )
    )  # fmt: skip
    is_plain = all(row.before <= MOST_CELLS for row in rows)
    title = "Channel" if is_plain else f"Channels, up to {MOST_CELLS} cells a layer"
    figure.update_layout(
        xaxis={"title": {"text": title}, "side": "top", "showgrid": False, "zeroline": False,
               "range": [-0.5, longest - 0.5], "showticklabels": is_plain},
        yaxis=_named(rows),
    )  # fmt: skip
    return framed(figure, height=height_of(rows))


def _cells(row: Row) -> tuple[list[float], list[str]]:
    """Share of the channels that stay, and words, for each cell of a row."""
    kept = np.ones(row.before, bool) if row.group is None else ~removed(row.group)
    importance = None if row.group is None or not row.group.prunable else _relative(row.group.importance.array)
    wide = -(-row.before // MOST_CELLS)
    starts = range(0, row.before, wide)
    shares = [float(kept[start : start + wide].mean()) for start in starts]
    return shares, [_cell_words(row, kept, importance, slice(start, min(start + wide, row.before))) for start in starts]


def _relative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """To their mean."""
    mean = float(values.mean()) if len(values) else 0.0
    return values / mean if mean else values


def _cell_words(row: Row, kept: NDArray[np.bool_], importance: NDArray[np.float64] | None, where: slice) -> str:
    name, count, stays = f"<b>{shorten(row.name, 60)}</b>", where.stop - where.start, int(kept[where].sum())
    mean = "" if importance is None else f"importance {importance[where].mean():.2f} of the mean, "
    if count == 1:
        return f"{name}, channel {where.start}: {mean}{'kept' if stays else 'gone'}"
    return f"{name}, channels {where.start} to {where.stop - 1}: {mean}{count - stays} of {count} gone"


def importances(
    report: PruningReport, shown: Prediction, own: Prediction, group: int | None, *, colour: str, ink: str
) -> go.Figure:
    """How many channels are how important, those that would go in grey, of all groups or one.

    A line marks the threshold of `shown`, a dotted one that of `own`, the run's; with a threshold of its own in every
    group the ground is tinted from the lowest to the highest.
    """
    chosen = [at for at, each in enumerate(report.groups) if each.prunable and group in (None, at)]
    values = [scores(report.groups[at]) for at in chosen]
    gone = [_is_gone(each, shown.thresholds[at]) for at, each in zip(chosen, values, strict=True)]
    every, marked = np.concatenate([[], *values]), np.concatenate([np.zeros(0, bool), *gone])
    edges = np.linspace(0, 1.02 * max(every.max(initial=0), 0.01), BINS + 1)
    figure = go.Figure(
        [
            _histogram(every[marked], edges, GREY, "Would go"),
            _histogram(every[~marked], edges, colour, "Would stay"),
        ]
    )
    lines = [(shown, "solid", "threshold"), *([(own, "dot", "this run")] if own.gone != shown.gone else [])]
    marks = [_threshold(each, chosen, dash, words, ink) for each, dash, words in lines]
    figure.update_layout(
        shapes=[shape for shapes, _ in marks for shape in shapes],
        annotations=[
            {**note, "xanchor": "right" if note["x"] > 0.7 * edges[-1] else "left"}
            for _, notes in marks for note in notes
        ],
        xaxis={"title": {"text": f"Importance as ranked: {shorten(report.importance, 60)}"}, "range": [0, edges[-1]],
               "zeroline": False},
        yaxis={"title": {"text": "Channels"}, "zeroline": False},
        legend=_LEGEND,
        bargap=0,
    )  # fmt: skip
    framed(figure, height=HEIGHT, legend=True)
    return figure.update_layout(barmode="stack", margin={"t": 56})


def _is_gone(values: NDArray[np.float64], threshold: float | None) -> NDArray[np.bool_]:
    return np.zeros(len(values), bool) if threshold is None else values <= threshold


def _histogram(values: NDArray[np.float64], edges: NDArray[np.float64], colour: str, name: str) -> go.Bar:
    counts, _ = np.histogram(values, edges)
    return go.Bar(
        x=(edges[:-1] + edges[1:]) / 2, y=counts, width=np.diff(edges), name=name,
        marker={"color": colour, "line": {"width": 0}},
        customdata=np.stack([edges[:-1], edges[1:]], axis=1),
        hovertemplate=f"{name}: %{{y:,}} channels<br>importance %{{customdata[0]:.2f}} to %{{customdata[1]:.2f}}"
        "<extra></extra>",
    )  # fmt: skip


def _threshold(
    prediction: Prediction, chosen: Sequence[int], dash: str, words: str, ink: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The shapes and the words of a threshold, or of several."""
    known = [value for at in chosen if (value := prediction.thresholds[at]) is not None]
    if not known:
        return [], []
    low, high = min(known), max(known)
    up = {"yref": "paper", "y0": 0, "y1": 1}
    line = {"type": "line", "line": {"color": ink, "width": 1.6, "dash": dash}, **up}
    shapes = [{**line, "x0": x, "x1": x} for x in {low, high}]
    if low < high:
        ground = {"type": "rect", "x0": low, "x1": high, "fillcolor": ink, "opacity": 0.08, "layer": "below", **up}
        shapes.append({**ground, "line": {"width": 0}})
    text = f"{words}: {low:.2f} to {high:.2f}" if low < high else f"{words}: {low:.2f}"
    is_own = dash != "solid"
    return shapes, [
        {"x": high, "yref": "paper", "y": 1, "yanchor": "bottom", "yshift": 14 * is_own, "showarrow": False,
         "text": text, "font": {"size": 11, "color": ink}}
    ]  # fmt: skip
