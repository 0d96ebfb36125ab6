"""A duel, round by round."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from experiments.duel import DuelResult, Ratio
from ui.figures.frame import GREY, framed, shorten


def rounds(result: DuelResult, second: str, *, colour: str, ink: str) -> go.Figure:
    """The ratios of each round to the first: of its copy in grey, of the second in its colour, with their intervals."""
    figure = go.Figure()
    control = [math.exp(each.log_a_over_a) for each in result.rounds]
    ours = [math.exp(each.log_ratio) for each in result.rounds]
    lines = (
        (control, result.a_over_a, "Control: the first once more", GREY),
        (ours, result.ratio, shorten(second), colour),
    )
    for values, ratio, name, tint in lines:
        figure.add_scatter(
            x=list(range(1, len(values) + 1)), y=values, mode="markers", name=name,
            marker={"color": tint, "size": 7, "opacity": 0.8}, hovertemplate="round %{x}<br>%{y:.3f}x<extra></extra>",
        )  # fmt: skip
        figure.add_trace(_band(ratio, len(values), tint))
    figure.add_hline(y=1, line={"color": ink, "width": 1, "dash": "dot"})
    figure.update_xaxes(title="Round", zeroline=False)
    figure.update_yaxes(title="Times as fast as the first", ticksuffix="x", zeroline=False)
    figure.update_layout(legend={"orientation": "h", "y": 1.12, "x": 0})
    return framed(figure, height=320, legend=True)


def _band(ratio: Ratio, count: int, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[0.5, count + 0.5, count + 0.5, 0.5], y=[ratio.low, ratio.low, ratio.high, ratio.high], fill="toself",
        mode="lines", line={"width": 0}, fillcolor=colour, opacity=0.25, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
