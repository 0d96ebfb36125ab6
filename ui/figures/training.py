"""Training in reduced precision beside FP32: loss, pace and loss scale, step by step."""

from __future__ import annotations

import plotly.graph_objects as go

from core.packed import Numbers
from core.quantization import TrainingComparison, TrainingRun
from experiments.training_gain import smoothed, turn_pace
from ui.figures.frame import FADED, GREY, framed

HEIGHT = 300
MOST_POINTS = 600
"""Of one line; more only make the page slow."""
SMOOTHED_SHARE = 20
"""A smoothed line averages over one such part of all steps."""


def losses(comparison: TrainingComparison, *, colour: str) -> go.Figure:
    """Both losses over the steps: every step faintly, their running mean on top; FP32 is a broad grey line behind."""
    ours, theirs = comparison.runs
    figure = go.Figure([*_loss(theirs, GREY, width=7), *_loss(ours, colour, width=2)])
    figure.update_layout(
        xaxis={"title": "Step", "zeroline": False, "rangemode": "tozero"},
        yaxis={"title": "Training loss", "rangemode": "tozero"},
        legend=_LEGEND,
    )
    return framed(figure, height=HEIGHT, legend=True)


_LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "traceorder": "reversed"}


def _loss(run: TrainingRun, colour: str, *, width: float) -> list[go.Scatter]:
    values, name = run.losses.array, run.precision.upper()
    line = smoothed(values, max(1, len(values) // SMOOTHED_SHARE))
    kept = list(range(0, len(values), -(-len(values) // MOST_POINTS)))
    steps = [step + 1 for step in kept]
    faint = go.Scatter(
        x=steps, y=values[kept], mode="lines", line={"color": colour, "width": 1}, opacity=FADED, showlegend=False,
        hoverinfo="skip", name=name,
    )  # fmt: skip
    return [
        faint,
        go.Scatter(
            x=steps, y=line[kept], mode="lines", line={"color": colour, "width": width}, name=name,
            hovertemplate=f"step %{{x}}<br>{name} %{{y:.3f}}<extra></extra>",
        ),
    ]  # fmt: skip


def pace(comparison: TrainingComparison, *, colour: str) -> go.Figure:
    """Images per second of both in each turn; they took turns, so that what disturbed one disturbed both."""
    figure = go.Figure(
        [
            _pace(turn_pace(run, comparison), run, tint)
            for run, tint in zip(comparison.runs, (colour, GREY), strict=True)
        ]
    )
    figure.update_layout(
        xaxis={"title": "Turn", "zeroline": False},
        yaxis={"title": "Images per second", "rangemode": "tozero"},
        legend=_LEGEND | {"traceorder": "normal"},
    )
    return framed(figure, height=HEIGHT, legend=True)


def _pace(values: Numbers, run: TrainingRun, colour: str) -> go.Scatter:
    name = run.precision.upper()
    return go.Scatter(
        x=list(range(1, len(values) + 1)), y=values, mode="markers", name=name, marker={"color": colour, "size": 7},
        hovertemplate=f"turn %{{x}}<br>{name} %{{y:,.0f}} images/s<extra></extra>",
    )  # fmt: skip


def scale(run: TrainingRun, *, colour: str) -> go.Figure:
    """The factor on the loss over the steps: it halves where gradients overflow. Raises `ValueError` without one."""
    if run.log2_scales is None:
        raise ValueError(f"{run.precision} has no loss scale")
    powers = run.log2_scales.array
    kept = [step for step in range(len(powers)) if step in (0, len(powers) - 1) or powers[step] != powers[step - 1]]
    figure = go.Figure(
        go.Scatter(
            x=[step + 1 for step in kept], y=2 ** powers[kept], mode="lines",
            line={"color": colour, "width": 2, "shape": "hv"},
            hovertemplate="from step %{x}<br>%{y:,.0f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis={"title": "Step", "zeroline": False, "rangemode": "tozero"},
        yaxis={"title": "Loss scale", "type": "log", "dtick": 0.30103, "tickformat": ",.0f"},
    )
    return framed(figure, height=HEIGHT)
