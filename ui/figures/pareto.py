"""One measure over another, with the Pareto front."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ui import text
from ui.figures.frame import FADED, GREY, WIDE_RANGE, Colours, framed, log_ticks, shorten


def trade_off(frame: pd.DataFrame, on_front: pd.Series[bool], colours: Colours, *, ink: str) -> go.Figure:
    """Accuracy over latency, sized by bytes; the Pareto front drawn, variants not on it faded.

    `on_front` says for each row whether no other variant is at least as good in both and better in one.
    """
    figure = go.Figure()
    front = frame[on_front].sort_values("p50_ms")
    line = {"color": ink, "width": 1.2, "dash": "dot", "shape": "hv"}
    figure.add_scatter(
        x=front.p50_ms, y=front.accuracy * 100, mode="lines", line=line, name="Pareto front", hoverinfo="skip"
    )
    largest = float(frame.size_bytes.max())
    for is_best, (_, variant) in zip(on_front, frame.iterrows(), strict=True):
        figure.add_trace(_bubble(variant, largest, colours, is_best=bool(is_best)))
    if frame.p50_ms.max() / frame.p50_ms.min() > WIDE_RANGE:
        ticks = log_ticks(float(frame.p50_ms.min()), float(frame.p50_ms.max()))
        words = "Latency p50 (ms, logarithmic axis) · lower is better"
        figure.update_xaxes(title=words, type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    else:
        figure.update_xaxes(title="Latency p50 (ms) · lower is better")
    figure.update_yaxes(title="Accuracy (%) · higher is better", ticksuffix=" %")
    figure.update_layout(legend={"itemsizing": "constant", "x": 1.01, "y": 1, "xanchor": "left", "tracegroupgap": 2})
    return framed(figure, height=400, legend=True)


def _bubble(variant: pd.Series[Any], largest: float, colours: Colours, *, is_best: bool) -> go.Scatter:
    colour = colours.get(str(variant.digest), GREY)
    opacity = 0.95 if is_best else FADED
    return go.Scatter(
        x=[variant.p50_ms],
        y=[100 * variant.accuracy],
        mode="markers",
        name=shorten(str(variant.title)),
        marker={"color": colour, "opacity": opacity, "size": 12 + 32 * (variant.size_bytes / largest) ** 0.5},
        error_y={
            "array": [100 * (variant.accuracy_high - variant.accuracy)],
            "arrayminus": [100 * (variant.accuracy - variant.accuracy_low)],
            "thickness": 1,
            "width": 0,
            "color": colour,
        },
        hovertemplate=f"{shorten(str(variant.title))}<br>%{{y:.2f}} %, %{{x:.3f}} ms, "
        + text.data_size(variant.size_bytes)
        + ("" if is_best else "<br>another variant is better in both")
        + "<extra></extra>",
    )
