"""What each module of a network has of a whole, and how layers add up to a call. Knows no streamlit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from core.layers import LayerKind
from experiments.roofline import BOUNDS, Bound
from ui.figures.frame import framed, shorten

MAP_HEIGHT, BAR_HEIGHT = 380, 128
SHADES = {"light": ("#E8F0FB", "#1D5FBF"), "dark": ("#1D2836", "#4E94EA")}
"""From nothing to the largest share."""
BOX = {"light": "#F3F5F8", "dark": "#1C232E"}
"""Of modules that hold others."""
EDGE = {"light": "#FFFFFF", "dark": "#12171F"}
BOUND_COLOURS: Mapping[str, Mapping[Bound, str]] = {
    "light": {"compute": "#0072B2", "memory": "#E69F00", "overhead": "#8C2F66", "unknown": "#A5ADB8"},
    "dark": {"compute": "#4A9FE0", "memory": "#E8B33A", "overhead": "#A0487E", "unknown": "#C0C7D0"},
}
"""After Okabe and Ito, so that they stay apart under protan-, deutan- and tritanopia; tests hold it so."""
BOUND_TITLES: Mapping[Bound, str] = {
    "compute": "Compute-bound",
    "memory": "Memory-bound",
    "overhead": "Overhead",
    "unknown": "Not told",
}
PieceKind = LayerKind | Literal["residual"]
KIND_COLOURS: Mapping[str, Mapping[PieceKind, str]] = {
    "light": {"compute": "#2B6CB0", "conversion": "#C9822B", "other": "#7A8797", "residual": "#B8577A"},
    "dark": {"compute": "#4C8FDB", "conversion": "#D9A24E", "other": "#8E97A3", "residual": "#CB7A98"},
}
"""Of layers that multiply, that convert, of the others, and of what is in no layer."""
WORDS = ("#FFFFFF", "#10151D")
EQUAL_CONTRAST = 0.18
"""Luminance on which both can be read alike."""
ROOT = "network"


@dataclass(frozen=True)
class Share:
    """A box of the map, or one of several that have the same place."""

    path: tuple[str, ...]
    value: float
    hover: str
    """Lines below its name, harmless to plotly."""
    bound: Bound | None = None


@dataclass(frozen=True)
class Piece:
    """A part of a bar."""

    kind: PieceKind
    title: str
    ms: float
    """Negative where layers take longer than the call."""


def treemap(shares: Sequence[Share], *, unit: str, by_bound: bool, dark: bool) -> go.Figure:
    """Nested boxes of the modules, as large as their share; coloured by it, or by what bounds each layer."""
    mode = "dark" if dark else "light"
    boxes = _boxes([share for share in shares if share.value > 0])
    total = boxes[()].value if () in boxes else 0.0
    largest = max((box.value for box in boxes.values() if box.is_leaf), default=0.0)
    paths = list(boxes)
    colours = [_colour(box, largest, mode, by_bound=by_bound) for box in boxes.values()]
    figure = go.Figure(
        go.Treemap(
            ids=[_id(path) for path in paths],
            labels=[_label(path) for path in paths],
            parents=[_id(path[:-1]) if path else "" for path in paths],
            values=[boxes[path].value for path in paths],
            branchvalues="total",
            marker={
                "colors": colours,
                "line": {"width": 1, "color": EDGE[mode]},
                "cornerradius": 2,
                "pad": {"t": 20, "l": 3, "r": 3, "b": 3},
            },
            textfont={"size": 12, "color": [_text(colour) for colour in colours]},
            insidetextfont={"color": [_text(colour) for colour in colours]},
            text=[f"{100 * boxes[path].value / total:.1f} %" if total else "" for path in paths],
            customdata=[[_hover_title(path), f"{boxes[path].value:,.4g} {unit}", boxes[path].hover] for path in paths],
            texttemplate="%{label}<br>%{text}",
            hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}, %{text}%{customdata[2]}<extra></extra>",
            tiling={"packing": "squarify", "pad": 1},
            domain={"y": [0, 0.92 if by_bound else 1]},
            pathbar={"visible": True, "thickness": 20},
            sort=True,
        )
    )
    figure.update_layout(uniformtext={"minsize": 10, "mode": "hide"})
    if by_bound:
        _add_legend(figure, {box.bound or "unknown" for box in boxes.values() if box.is_leaf}, mode)
    return framed(figure, height=MAP_HEIGHT, legend=by_bound)


def _add_legend(figure: go.Figure, bounds: Collection[Bound], mode: str) -> None:
    """What the colours mean, which a treemap itself does not tell: marks without a place."""
    for bound in (each for each in BOUNDS if each in bounds):
        marker = {"symbol": "square", "size": 12, "color": BOUND_COLOURS[mode][bound]}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=BOUND_TITLES[bound], marker=marker)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(
        plot_bgcolor="rgba(0,0,0,0)", legend={"orientation": "h", "y": 1, "yanchor": "top", "x": 0, "itemclick": False}
    )


def call_bar(pieces: Sequence[Piece], *, p50_ms: float, dark: bool, ink: str) -> go.Figure:
    """The pieces end to end and a line at the latency that they sum to; a negative one leads back to it, hatched."""
    mode = "dark" if dark else "light"
    figure, reached = go.Figure(), 0.0
    for piece in pieces:
        figure.add_bar(
            name=f"{piece.title} {piece.ms:.3f} ms",
            x=[piece.ms],
            base=[reached],
            y=[""],
            orientation="h",
            width=0.62,
            marker={
                "color": KIND_COLOURS[mode][piece.kind],
                "line": {"width": 1, "color": EDGE[mode]},
                "pattern": {"shape": "/" if piece.ms < 0 else ""},
            },
            hovertemplate=f"{piece.title}<br>{piece.ms:+.3f} ms, {piece.ms / p50_ms:.1%} of a call<extra></extra>",
        )
        reached += piece.ms
    figure.add_vline(x=p50_ms, line={"color": ink, "width": 2})
    farthest = max(p50_ms, sum(piece.ms for piece in pieces if piece.ms > 0))
    figure.update_xaxes(title="ms of one call", range=[0, 1.03 * farthest], zeroline=False)
    figure.update_yaxes(showticklabels=False, showgrid=False)
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"})
    return framed(figure, height=BAR_HEIGHT, legend=True)


@dataclass
class _Box:
    value: float = 0.0
    is_leaf: bool = True
    hover: str = ""
    bound: Bound | None = None


def _boxes(shares: Sequence[Share]) -> dict[tuple[str, ...], _Box]:
    """Every module on the way to a share, by path, the outermost first."""
    boxes: dict[tuple[str, ...], _Box] = {}
    for share in shares:
        for end in range(len(share.path) + 1):
            box = boxes.setdefault(share.path[:end], _Box())
            box.value += share.value
            box.is_leaf = box.is_leaf and end == len(share.path)
        leaf = boxes[share.path]
        leaf.hover, leaf.bound = leaf.hover or f"<br>{share.hover}", leaf.bound or share.bound
    return dict(sorted(boxes.items(), key=lambda item: len(item[0])))


def _id(path: tuple[str, ...]) -> str:
    return "/".join((ROOT, *path))


def _label(path: tuple[str, ...]) -> str:
    """The last name on the way; a bare number with the one before."""
    return shorten(".".join(path[-2:] if path[-1].isdecimal() else path[-1:]), 40) if path else ROOT


def _hover_title(path: tuple[str, ...]) -> str:
    return shorten(".".join(path), 60) if path else "The whole network"


def _colour(box: _Box, largest: float, mode: str, *, by_bound: bool) -> str:
    if not box.is_leaf:
        return BOX[mode]
    if by_bound:
        return BOUND_COLOURS[mode][box.bound or "unknown"]
    return _between(*SHADES[mode], box.value / largest if largest else 0.0)


def _text(background: str) -> str:
    """Black or white, whichever stands out more."""
    red, green, blue = (int(background[place : place + 2], 16) / 255 for place in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return WORDS[luminance > EQUAL_CONTRAST]


def _between(low: str, high: str, share: float) -> str:
    """The colour that far on the way between two."""
    ends = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in (low, high)]
    return "#" + "".join(f"{round(start + share * (end - start)):02X}" for start, end in zip(*ends, strict=True))
