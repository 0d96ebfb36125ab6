"""A network in float32: what it holds over a forward pass, and what each bit of a grid is worth. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from core.anatomy import MemoryStep
from ui.figures.frame import framed, shorten
from ui.figures.waterfall import LOSS
from ui.text import KIB, MIB, data_size

HEIGHT = 300
MOST_BLOCKS = 26
"""Parts of the network that the axis tells apart."""
DEEPEST = 3
"""Parts of a module's name that tell its block at most."""
OF_THE_NETWORK = "the network itself"
"""How the module without a name is called."""
DASHES = {"Weights": "solid", "What comes in": "dash", "What goes out": "dot"}


def memory(steps: Sequence[MemoryStep], *, colour: str, ink: str) -> go.Figure:
    """A bar for each operation: bytes held after it, the peak marked. Points carry the operation's index."""
    unit, name = (MIB, "MiB") if peak_of(steps).live_bytes >= MIB else (KIB, "KiB")
    at = steps.index(peak_of(steps))
    figure = go.Figure(
        go.Bar(
            x=list(range(len(steps))),
            y=[step.live_bytes / unit for step in steps],
            width=1,
            marker={"color": [LOSS if place == at else colour for place in range(len(steps))], "line": {"width": 0}},
            hovertext=[_hover(steps, place) for place in range(len(steps))],
            hoverinfo="text",
            unselected={"marker": {"opacity": 1}},
            showlegend=False,
        )
    )
    figure.update_layout(
        annotations=[_peak_words(steps, at, unit, ink)],
        shapes=_edges(steps, ink),
        xaxis=_block_axis(steps),
        yaxis={"title": {"text": f"Activations held ({name})"}, "rangemode": "tozero",
               "range": [0, 1.18 * steps[at].live_bytes / unit]},
        bargap=0,
        clickmode="event+select",
    )  # fmt: skip
    return framed(figure, height=HEIGHT)


def peak_of(steps: Sequence[MemoryStep]) -> MemoryStep:
    """The first operation after which most is held."""
    return max(steps, key=lambda step: step.live_bytes)


def _hover(steps: Sequence[MemoryStep], place: int) -> str:
    step, before = steps[place], steps[place - 1].live_bytes if place else 0
    change = step.live_bytes - before
    words = f"{'+' if change >= 0 else '−'}{data_size(abs(change))} since the one before" if place else "with the image"
    return (
        f"<b>{shorten(step.module or OF_THE_NETWORK, 60)}</b><br>{shorten(step.op.removeprefix('aten.'), 40)}, "
        f"operation {place + 1} of {len(steps)}<br>{data_size(step.live_bytes)} held, {words}"
    )


def _peak_words(steps: Sequence[MemoryStep], at: int, unit: int, ink: str) -> dict[str, Any]:
    step = steps[at]
    left = at < 0.5 * len(steps)
    return {
        "x": at, "y": step.live_bytes / unit, "yshift": 4, "yanchor": "bottom", "showarrow": False,
        "xanchor": "left" if left else "right", "font": {"size": 12, "color": ink},
        "text": f"<b>{data_size(step.live_bytes)}</b> at {shorten(step.module or OF_THE_NETWORK)}",
    }  # fmt: skip


def blocks(steps: Sequence[MemoryStep]) -> list[tuple[int, int, str]]:
    """The network in at most `MOST_BLOCKS` parts: first operation, the one after the last, and name of each.

    As finely as that allows; what lies between two operations of one part and has no name belongs to it.
    """
    found = _blocks(steps, 1)
    for depth in range(2, DEEPEST + 1):
        finer = _blocks(steps, depth)
        found = finer if len(finer) <= MOST_BLOCKS else found
    return found


def _blocks(steps: Sequence[MemoryStep], depth: int) -> list[tuple[int, int, str]]:
    names: list[str] = []
    for step in steps:
        names.append(".".join(step.module.split(".")[:depth]) or (names[-1] if names else ""))
    found, start = [], 0
    for name, members in groupby(names):
        size = len(list(members))
        found.append((start, start + size, name))
        start += size
    return found


def _block_axis(steps: Sequence[MemoryStep]) -> dict[str, Any]:
    found = _named(blocks(steps), 0.03 * len(steps))
    ticks: dict[str, Any] = {}
    if len(found) <= MOST_BLOCKS:
        ticks = {
            "tickvals": [middle for middle, _ in found],
            "ticktext": [shorten(name, 22) for _, name in found],
            "tickangle": -45 if len(found) > 6 else 0,
        }
    return {
        "title": {"text": "Operation, in the order of execution"}, "range": [-0.5, len(steps) - 0.5],
        "showgrid": False, "zeroline": False, "automargin": True, "tickfont": {"size": 11}, **ticks,
    }  # fmt: skip


def _named(found: Sequence[tuple[int, int, str]], apart: float) -> list[tuple[float, str]]:
    """Middles and names of the parts, without those that would lie closer to the one before than `apart`."""
    named: list[tuple[float, str]] = []
    for start, end, name in found:
        middle = (start + end - 1) / 2
        if not named or middle - named[-1][0] >= apart:
            named.append((middle, name))
    return named


def _edges(steps: Sequence[MemoryStep], ink: str) -> list[dict[str, Any]]:
    """Thin lines where one part of the network ends."""
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"color": ink, "width": 1, "dash": "dot"}}
    found = blocks(steps)
    if len(found) > MOST_BLOCKS:
        return []
    return [{**line, "x0": start - 0.5, "x1": start - 0.5, "opacity": 0.35} for start, *_ in found[1:]]


def worth(
    series: Mapping[str, Sequence[float | None]], widths: Sequence[int], chosen: int, *, colour: str, height: int
) -> go.Figure:
    """Signal-to-noise ratios in dB by the number of bits, a line for each tensor; the chosen number is marked."""
    sizes = [11 if bits == chosen else 5 for bits in widths]
    figure = go.Figure(
        [
            go.Scatter(
                x=list(widths),
                y=list(values),
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2, "dash": DASHES.get(name, "solid")},
                marker={"size": sizes, "opacity": 1},
                hovertemplate=f"{name}<br>%{{x}} bits: %{{y:.1f}} dB<extra></extra>",
            )
            for name, values in series.items()
        ]
    )
    figure.update_layout(
        xaxis={"title": {"text": "Bits"}, "dtick": 1, "range": [min(widths) - 0.3, max(widths) + 0.3],
               "zeroline": False, "showgrid": False},
        yaxis={"title": {"text": "Signal-to-noise (dB)"}, "zeroline": True},
        legend={"x": 0.02, "y": 0.99, "xanchor": "left", "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
    )  # fmt: skip
    return framed(figure, height=height, legend=True)
