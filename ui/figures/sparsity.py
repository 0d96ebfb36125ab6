"""A network with zeros layer by layer, and how they came about. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from core.sparsity import SchedulePoint, SparseLayer
from ui.figures.frame import framed, shorten
from ui.figures.quantization import short_names

ROW_HEIGHT, AXIS_HEIGHT = 24, 60
SCHEDULE_HEIGHT = 280


def zeros_by_layer(layers: Sequence[SparseLayer], *, mean: float, colour: str, ink: str) -> go.Figure:
    """A bar a layer in the order of the network: its share of zeros in %; dotted, that of all of them together."""
    shares = [100 * layer.zeros / layer.weights for layer in layers]
    hover = [
        f"<b>{shorten(layer.name, 60)}</b><br>{shorten(layer.kind, 60)}<br>{layer.zeros:,} of {layer.weights:,} "
        f"weights are zero" + (f"<br>{shorten(layer.why_dense, 90)}" if layer.why_dense else "")
        for layer in layers
    ]
    words = ["dense" if layer.why_dense else f"{share:.1f} %" for share, layer in zip(shares, layers, strict=True)]
    figure = _bars(layers, shares, words, hover, colour, ink)
    figure.update_xaxes(title_text="Weights that are zero (%)", range=[0, 112], tickvals=[0, 25, 50, 75, 100])
    line = {"color": ink, "width": 1.5, "dash": "dot"}
    figure.add_shape(type="line", x0=100 * mean, x1=100 * mean, yref="paper", y0=0, y1=1, line=line)
    return figure


def blocks_by_layer(layers: Sequence[SparseLayer], *, colour: str, ink: str) -> go.Figure:
    """A bar a layer: the share in % of its runs of four weights that have at least two zeros; `n/a` without such."""
    shares = [100 * layer.blocks_with_pattern / layer.blocks if layer.blocks else 0.0 for layer in layers]
    words = [f"{share:.1f} %" if layer.blocks else "n/a" for share, layer in zip(shares, layers, strict=True)]
    hover = [
        f"<b>{shorten(layer.name, 60)}</b><br>{layer.blocks_with_pattern:,} of {layer.blocks:,} runs of four weights "
        "have at least two zeros"
        if layer.blocks
        else f"<b>{shorten(layer.name, 60)}</b><br>its inputs cannot be cut into fours"
        for layer in layers
    ]
    figure = _bars(layers, shares, words, hover, colour, ink)
    return figure.update_xaxes(
        title_text="Runs of four with two zeros (%)", range=[0, 112], tickvals=[0, 25, 50, 75, 100]
    )


def errors_by_layer(layers: Sequence[SparseLayer], *, colour: str, ink: str) -> go.Figure:
    """A bar a layer: how far its outputs moved in % of their size; layers where that is not known have none."""
    errors = [100 * (layer.output_error or 0.0) for layer in layers]
    words = [
        "n/a" if layer.output_error is None else f"{error:.2g} %" for layer, error in zip(layers, errors, strict=True)
    ]
    hover = [
        f"<b>{shorten(layer.name, 60)}</b><br>"
        + ("not known" if layer.output_error is None else f"outputs moved by {error:.3g} % of their size")
        for layer, error in zip(layers, errors, strict=True)
    ]
    figure = _bars(layers, errors, words, hover, colour, ink)
    return figure.update_xaxes(title_text="Output error (% of the output)", range=[0, 1.18 * max(errors) or 1.0])


def _bars(
    layers: Sequence[SparseLayer], values: Sequence[float], words: Sequence[str], hover: Sequence[str], colour: str,
    ink: str,
) -> go.Figure:  # fmt: skip
    rows = list(range(len(layers)))
    bars = go.Bar(
        x=values, y=rows, orientation="h", width=0.66, hovertext=hover, hoverinfo="text",
        marker={"color": colour, "line": {"width": 0}},
    )  # fmt: skip
    figure = go.Figure(bars)
    font = {"size": 11, "color": ink}
    figure.update_layout(
        annotations=[
            {"x": value, "y": row, "text": word, "xanchor": "left", "xshift": 5, "showarrow": False, "font": font}
            for row, value, word in zip(rows, values, words, strict=True)
        ],
        xaxis={"side": "top", "zeroline": False},
        yaxis={"tickvals": rows, "ticktext": short_names([layer.name for layer in layers]), "automargin": True,
               "range": [len(rows) - 0.4, -0.6], "showgrid": False, "zeroline": False, "tickfont": {"size": 11}},
    )  # fmt: skip
    return framed(figure, height=AXIS_HEIGHT + ROW_HEIGHT * len(rows))


def schedule(points: Sequence[SchedulePoint], *, colour: str) -> go.Figure:
    """The share of zeros in % over the steps of training, from each point on until the next."""
    look: dict[str, Any] = {"color": colour, "width": 2.5, "shape": "hv"}
    figure = go.Figure(
        go.Scatter(
            x=[point.step for point in points], y=[100 * point.sparsity for point in points], mode="lines", line=look,
            hovertemplate="step %{x}<br>%{y:.1f} % zeros<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": {"text": "Step of training"}, "zeroline": False, "rangemode": "tozero"},
        yaxis={"title": {"text": "Weights that are zero (%)"}, "range": [0, 100], "zeroline": False},
    )
    return framed(figure, height=SCHEDULE_HEIGHT)
