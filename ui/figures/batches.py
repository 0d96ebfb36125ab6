"""Throughput over the batch size."""

from __future__ import annotations

import plotly.graph_objects as go

from profiling.sweep import Sweep
from ui.figures.frame import framed


def batches(sweep: Sweep, *, colour: str, ink: str) -> go.Figure:
    """A line over batch sizes on a logarithmic axis, the best one ringed."""
    sizes = [point.batch_size for point in sweep.points]
    rates = [point.throughput_per_s for point in sweep.points]
    best = sweep.best
    line, marker = {"color": colour, "width": 2}, {"color": colour, "size": 7}
    hover = "batch %{x}<br>%{y:,.0f} images/s<extra></extra>"
    figure = go.Figure(
        [
            go.Scatter(x=sizes, y=rates, mode="lines+markers", line=line, marker=marker, hovertemplate=hover),
            go.Scatter(
                x=[best.batch_size], y=[best.throughput_per_s], mode="markers+text", hoverinfo="skip",
                marker={"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": ink, "width": 2}},
                text=[f"{best.throughput_per_s:,.0f} at {best.batch_size}"], textposition="top left",
            ),
        ]
    )  # fmt: skip
    figure.update_xaxes(title="Batch size (images)", type="log", tickvals=sizes, ticktext=[str(size) for size in sizes])
    figure.update_yaxes(title="Images/s", rangemode="tozero", range=[0, 1.2 * max(rates)])
    return framed(figure, height=260)
