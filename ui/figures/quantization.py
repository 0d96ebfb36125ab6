"""A quantized network layer by layer: where it diverges, what its grids cover, which layers hurt. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import Any

import plotly.graph_objects as go

from core.quantization import FLOAT_BITS, LayerQuantization
from experiments.quantized import Fall, clipped_share, error_share, shown_db
from ui.figures.frame import GREY, framed, shorten
from ui.figures.waterfall import LOSS

HEIGHT, ROW_HEIGHT, AXIS_HEIGHT = 330, 21, 56
LONGEST_NAME, SHORT_ENOUGH = 26, 14
MOST_LABELS = 40
"""Of a line of layers; of more every second, third ... is named."""
STEEP = 24
"""From so many layers on names stand upright."""
MOST_BARS = 25
SYMBOLS = {4: "diamond", 8: "circle", FLOAT_BITS: "circle-open"}
LINES_DB = (20, 40)
"""Where 1 % and 0.01 % of the power is error."""
RIGHT = 92
"""Pixels beside the plot for words on these lines."""


def divergence(layers: Sequence[LayerQuantization], fall: Fall | None, *, colour: str, ink: str) -> go.Figure:
    """Signal-to-noise ratios in dB along the layers in the order of execution, with the steepest fall marked.

    Points carry the layer's index; layers in float are hollow and on a grey ground.
    """
    alone = [
        _series(layers, "weight_snr_db", "Weights", {"color": ink, "width": 1, "dash": "dot"}, "square", 6),
        _series(
            layers, "input_snr_db", "What comes in", {"color": GREY, "width": 1.5, "dash": "dash"}, "triangle-up", 8
        ),
    ]
    known = [drawn for drawn in alone if any(value is not None for value in drawn.y)]
    figure = go.Figure([*known, *_outputs(layers, colour)])
    low, high = _decibels(layers)
    figure.update_layout(
        shapes=[*_float_ground(layers), *(_level(db, ink) for db in LINES_DB if low < db < high)],
        annotations=[
            *(_level_words(db, ink) for db in LINES_DB if low < db < high),
            *([_fall_words(fall, layers, ink)] if fall else []),
        ],
        xaxis=_layer_axis(layers),
        yaxis={"title": {"text": "Signal-to-noise (dB)"}, "range": [low, high], "zeroline": False},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "reversed"},
        clickmode="event+select",
    )
    longest = max(map(len, short_names([layer.name for layer in layers])))
    framed(figure, height=HEIGHT + (5 * longest if len(layers) >= STEEP else 4 * longest), legend=True)
    return figure.update_layout(margin={"r": RIGHT, "t": 30})


def _series(
    layers: Sequence[LayerQuantization], field: str, name: str, line: dict[str, Any], symbol: str, size: int
) -> go.Scatter:
    values = [shown_db(getattr(layer, field)) for layer in layers]
    return go.Scatter(
        x=list(range(len(layers))), y=values, mode="lines+markers", name=name, line=line,
        marker={"symbol": symbol, "size": size, "color": line["color"]}, unselected={"marker": {"opacity": 1}},
        hovertext=[_hover(layer, name, value) for layer, value in zip(layers, values, strict=True)], hoverinfo="text",
        customdata=list(range(len(layers))),
    )  # fmt: skip


def _outputs(layers: Sequence[LayerQuantization], colour: str) -> list[go.Scatter]:
    """The line, and its entry in the legend, which would otherwise look like the first layer's marker."""
    name, line = "Output, all rounded up to here", {"color": colour, "width": 2.5}
    drawn = _series(layers, "output_snr_db", name, line, "circle", 9)
    symbols = [SYMBOLS.get(layer.bits, "circle") for layer in layers]
    drawn.update(marker={"symbol": symbols, "line": {"width": 2, "color": colour}}, showlegend=False)
    marker = {"color": colour, "size": 9}
    return [drawn, go.Scatter(x=[None], y=[None], mode="lines+markers", name=name, line=line, marker=marker)]


def _hover(layer: LayerQuantization, what: str, value: float | None) -> str:
    ratio = "no error to speak of" if value is None else f"{value:.1f} dB: {error_in_words(value)} of its power"
    held = "in float" if layer.bits == FLOAT_BITS else f"weights in {layer.bits} bits"
    return f"<b>{shorten(layer.name, 60)}</b><br>{shorten(layer.kind, 60)}, {held}<br>{what}: {ratio}"


def error_in_words(snr_db: float) -> str:
    """`1.2 % error`."""
    share = 100 * error_share(snr_db)
    return f"{share:,.0f} % error" if share >= 10 else f"{share:.2g} % error"


def _decibels(layers: Sequence[LayerQuantization]) -> tuple[float, float]:
    fields = ("output_snr_db", "input_snr_db", "weight_snr_db")
    found = [value for layer in layers for field in fields if (value := shown_db(getattr(layer, field))) is not None]
    low, high = min(found, default=0.0), max(found, default=50.0)
    return min(0.0, low - 3), high + 4


def _float_ground(layers: Sequence[LayerQuantization]) -> list[dict[str, Any]]:
    places = [place for place, layer in enumerate(layers) if layer.bits == FLOAT_BITS]
    look = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "fillcolor": GREY, "opacity": 0.16, "layer": "below"}
    return [{"x0": place - 0.5, "x1": place + 0.5, "line": {"width": 0}, **look} for place in places]


def _level(db: float, ink: str) -> dict[str, Any]:
    line = {"color": ink, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": db, "y1": db, "line": line, "opacity": 0.5}


def _level_words(db: float, ink: str) -> dict[str, Any]:
    return {
        "xref": "paper", "x": 1, "xanchor": "left", "xshift": 6, "y": db, "text": error_in_words(db),
        "showarrow": False, "font": {"size": 11, "color": ink},
    }  # fmt: skip


def _fall_words(fall: Fall, layers: Sequence[LayerQuantization], ink: str) -> dict[str, Any]:
    place = [layer.name for layer in layers].index(fall.layer.name)
    return {
        "x": place, "y": fall.after_db, "text": f"<b>−{fall.db:.1f} dB</b>", "ax": 26, "ay": 30, "xanchor": "left",
        "showarrow": True, "arrowhead": 2, "arrowwidth": 1.5, "arrowcolor": ink, "standoff": 8,
        "font": {"size": 12, "color": ink},
    }  # fmt: skip


def _layer_axis(layers: Sequence[LayerQuantization]) -> dict[str, Any]:
    step = -(-len(layers) // MOST_LABELS)
    places = list(range(0, len(layers), step))
    names = short_names([layer.name for layer in layers])
    return {
        "tickvals": places,
        "ticktext": [names[place] for place in places],
        "tickangle": -90 if len(layers) >= STEEP else -45,
        "tickfont": {"size": 11},
        "range": [-0.6, len(layers) - 0.4],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    }


def ranges(layers: Sequence[LayerQuantization], *, colour: str, ink: str) -> go.Figure:
    """For each layer with a fixed input grid a grey bar of what was seen and a thin one of what the grid covers.

    What was seen beyond the grid is coloured, its share written beside it.
    """
    shown = [(layer, layer.inputs, layer.input_grid) for layer in layers if layer.inputs and layer.input_grid]
    rows = list(range(len(shown)))
    seen = [values.range for _, values, _ in shown]
    covered = [grid.covers for _, _, grid in shown]
    clipped = [clipped_share(values, grid) for _, values, grid in shown]
    hover = [
        f"<b>{shorten(layer.name, 60)}</b><br>Seen {values.range.low:.3g} to {values.range.high:.3g}<br>"
        f"Covered {grid.covers.low:.3g} to {grid.covers.high:.3g}<br>Clipped {share_in_words(share)}"
        for (layer, values, grid), share in zip(shown, clipped, strict=True)
    ]
    figure = go.Figure(
        [
            _spans([(r.low, r.high) for r in seen], rows, GREY, 0.66, "Seen on calibration images", hover),
            _spans([(r.low, r.high) for r in covered], rows, colour, 0.26, "Covered by the grid", hover),
            *_tails(seen, covered, clipped, rows),
        ]
    )
    right = max([end.high for end in (*seen, *covered)], default=1.0)
    left = min([end.low for end in (*seen, *covered)], default=0.0)
    figure.update_layout(
        annotations=[
            {"x": max(s.high, c.high), "y": row, "text": f"{share_in_words(share)} clipped", "xanchor": "left",
             "xshift": 6, "font": {"size": 11, "color": ink}, "showarrow": False}
            for row, s, c, share in zip(rows, seen, covered, clipped, strict=True) if share
        ],
        xaxis={"title": {"text": "Value that comes in"}, "side": "top", "zeroline": True,
               "range": [left - 0.02 * (right - left), right + 0.16 * (right - left)]},
        yaxis=_named_rows([layer.name for layer, _, _ in shown]),
        legend={"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"},
    )  # fmt: skip
    return framed(figure, height=AXIS_HEIGHT + 24 + ROW_HEIGHT * len(shown), legend=True)


def short_names(names: Sequence[str]) -> list[str]:
    """The names for an axis: without the modules that all of them begin or end with, and no longer than fits.

    >>> short_names(["net.blocks.0.conv", "net.blocks.1.conv"])
    ['…0…', '…1…']
    """
    parts = [name.split(".") for name in names]
    shortest = min((len(each) for each in parts), default=1) - 1
    head = _shared(parts, shortest)
    tail = _shared([each[::-1] for each in parts], shortest - head)
    if len(names) < 2 or max(map(len, names)) <= SHORT_ENOUGH:
        head = tail = 0
    found = [".".join(each[head : len(each) - tail]) for each in parts]
    return [shorten("…" * bool(head) + each + "…" * bool(tail), LONGEST_NAME) for each in found]


def _shared(parts: Sequence[Sequence[str]], most: int) -> int:
    """How many leading parts all of them share."""
    return next((at for at in range(most) if len({each[at] for each in parts}) > 1), max(0, most))


def plain(value: float) -> str:
    """Two digits without an exponent.

    >>> plain(0.0000754), plain(1.24), plain(0)
    ('0.000075', '1.2', '0')
    """
    return f"{value:.{max(0, 1 - floor(log10(value)))}f}" if value else "0"


def share_in_words(share: float) -> str:
    """`0.3 %`, `none`."""
    if not share:
        return "none"
    return "< 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %"


def _spans(
    ends: Sequence[tuple[float, float]], rows: Sequence[int], colour: str, width: float, name: str, hover: Sequence[str]
) -> go.Bar:
    return go.Bar(
        base=[low for low, _ in ends], x=[high - low for low, high in ends], y=list(rows), orientation="h",
        width=width, marker={"color": colour, "line": {"width": 0}}, name=name, hovertext=list(hover),
        hoverinfo="text",
    )  # fmt: skip


def _tails(seen: Sequence[Any], covered: Sequence[Any], clipped: Sequence[float], rows: Sequence[int]) -> list[go.Bar]:
    """What was seen beyond the grid, on either side."""
    ends = [
        (row, low, high)
        for row, s, c, share in zip(rows, seen, covered, clipped, strict=True)
        if share
        for low, high in ((s.low, c.low), (c.high, s.high))
        if low < high
    ]
    if not ends:
        return []
    places = [row for row, _, _ in ends]
    return [_spans([(low, high) for _, low, high in ends], places, LOSS, 0.66, "Clipped", ["Clipped"] * len(ends))]


def _named_rows(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))), "ticktext": short_names(names),
        "range": [len(names) - 0.4, -0.6], "automargin": True, "showgrid": False, "zeroline": False,
        "tickfont": {"size": 11},
    }  # fmt: skip


def sensitivity(layers: Sequence[LayerQuantization], *, colour: str, ink: str) -> go.Figure:
    """The layers that hurt most when they alone are quantized, the worst on top; hollow bars were left in float."""
    ranked = sorted(
        (each for each in layers if each.sensitivity is not None), key=lambda each: -(each.sensitivity or 0)
    )
    ranked = ranked[:MOST_BARS]
    values = [each.sensitivity or 0.0 for each in ranked]
    fills = ["rgba(0,0,0,0)" if each.bits == FLOAT_BITS else colour for each in ranked]
    figure = go.Figure(
        go.Bar(
            x=values, y=list(range(len(ranked))), orientation="h", width=0.62,
            marker={"color": fills, "line": {"color": colour, "width": 1.5}},
            hovertext=[f"<b>{shorten(each.name, 60)}</b><br>{shorten(each.kind, 60)}<br>{plain(value)} nats an image"
                       for each, value in zip(ranked, values, strict=True)],
            hoverinfo="text", showlegend=False,
        )
    )  # fmt: skip
    figure.update_layout(
        annotations=[
            {"x": value, "y": row, "text": plain(value), "xanchor": "left", "xshift": 6, "showarrow": False,
             "font": {"size": 11, "color": ink}}
            for row, value in enumerate(values)
        ],
        xaxis={"title": {"text": "KL divergence (nats an image)"}, "side": "top", "zeroline": False,
               "range": [0, 1.12 * max(values, default=1.0) or 1.0]},
        yaxis=_named_rows([each.name for each in ranked]),
    )  # fmt: skip
    return framed(figure, height=AXIS_HEIGHT + ROW_HEIGHT * len(ranked))
