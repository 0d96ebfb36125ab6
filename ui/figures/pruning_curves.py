"""Accuracy against how much was pruned, over rounds, and on the way to a target. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from core.judging import LABELLED, Judging
from core.pruning import Round, Search
from experiments.pruning import Bend
from profiling.statistics import wilson_interval
from ui.figures.frame import GREY, Colours, framed, log_ticks, shorten

HEIGHT = 330
GAINS = {
    "ratio": "Channels saved (x fewer)",
    "macs": "Multiply-accumulates saved (x fewer)",
    "latency": "Measured speed-up (x faster)",
}
CLEAR = "rgba(0,0,0,0)"
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


@dataclass(frozen=True, eq=False)
class Curves:
    """What is known of accuracy against the ratio."""

    scan: pd.DataFrame
    """As `experiments.pruning.scan_table` has it; may be empty."""
    runs: pd.DataFrame
    """As `experiments.pruning.runs_table` has it, with `digest`; may be empty."""
    baseline: float | None
    """Accuracy of the untouched model, 0 to 1."""
    own: str
    """Id of the run whose page this is."""
    judging: Judging = LABELLED


def curves(
    known: Curves, bend: Bend | None, *, along: str, zoomed: bool, colours: Colours, colour: str, ink: str
) -> go.Figure:
    """Accuracy in per cent over the ratio or the multiply-accumulates left, with 95 % intervals and the knee.

    The scan without fine-tuning is a thin line, finished runs are discs in their own colours, this run ringed, and the
    baseline a grey line. `bend` is the knee, in the ratio; `zoomed` shows the heights of the runs alone.
    """
    figure = go.Figure()
    if len(known.scan):
        figure.add_trace(_scan(known, along, ink))
    if len(known.runs):
        figure.add_traces(_finished(known, along, colours, colour, ink))
    notes, shapes = [], []
    if known.baseline is not None:
        figure.add_hline(y=100 * known.baseline, line={"color": GREY, "width": 2}, layer="below")
        notes.append(_baseline_words(known.baseline, ink))
    if bend is not None:
        shape, note = _knee(bend, known, along, ink)
        shapes, notes = [shape], [*notes, note]
    is_share = along == "macs_left"
    title = "Multiply-accumulates left (%)" if is_share else "Pruning ratio (share of channels)"
    figure.update_layout(
        xaxis={"title": {"text": title}, "range": [102, -2] if is_share else [-0.02, 1], "zeroline": False,
               **({"ticksuffix": " %"} if is_share else {"dtick": 0.1, "tickformat": ".1f"})},
        yaxis={"title": {"text": f"{known.judging.title} (%)"}, "zeroline": False, "range": _heights(known, zoomed)},
        legend=_LEGEND,
        annotations=notes,
        shapes=[*figure.layout.shapes, *shapes],
    )  # fmt: skip
    return framed(figure, height=HEIGHT + 50, legend=True).update_layout(margin={"t": 34})


def _across(frame: pd.DataFrame, along: str) -> list[float]:
    return [float(value) for value in (100 * frame.macs_left if along == "macs_left" else frame.ratio)]


def _errors(frame: pd.DataFrame, colour: str | Sequence[str]) -> dict[str, Any]:
    up, down = 100 * (frame.high - frame.accuracy), 100 * (frame.accuracy - frame.low)
    return {"array": up, "arrayminus": down, "color": colour, "thickness": 1.2, "width": 3}


def _scan(known: Curves, along: str, ink: str) -> go.Scatter:
    scan, images = known.scan, f"calibration {known.judging.unit}"
    return go.Scatter(
        x=_across(scan, along), y=100 * scan.accuracy, mode="lines+markers", name="Cut at once, not fine-tuned",
        line={"color": ink, "width": 1.2, "dash": "dot"}, marker={"color": ink, "size": 4}, error_y=_errors(scan, ink),
        hovertext=[_point_words(row, images) for row in scan.itertuples()], hoverinfo="text",
    )  # fmt: skip


def _finished(known: Curves, along: str, colours: Colours, colour: str, ink: str) -> list[go.Scatter]:
    """A thin line, a disc and its interval for each run, and a ring around this one."""
    runs, x, y = known.runs, _across(known.runs, along), 100 * known.runs.accuracy
    tints = [colours.get(digest, GREY) for digest in runs.digest]
    name, images = "Finished runs, as measured", f"test {known.judging.unit}"
    line = go.Scatter(x=x, y=y, mode="lines", line={"color": ink, "width": 1}, hoverinfo="skip", showlegend=False)
    discs = [
        go.Scatter(
            x=[at], y=[height], mode="markers", marker={"color": tint, "size": 11}, showlegend=False,
            error_y=_errors(runs.iloc[[place]], tint), hovertext=[_point_words(row, images)], hoverinfo="text",
        )
        for place, (at, height, tint, row) in enumerate(zip(x, y, tints, runs.itertuples(), strict=True))
    ]  # fmt: skip
    own = runs.run_id == known.own
    ring = go.Scatter(
        x=[at for at, is_own in zip(x, own, strict=True) if is_own], y=y[own], mode="markers", hoverinfo="skip",
        showlegend=False, marker={"color": CLEAR, "size": 19, "line": {"color": ink, "width": 2}},
    )  # fmt: skip
    key = go.Scatter(x=[None], y=[None], mode="markers", marker={"color": colour, "size": 11}, name=name)
    return [line, *discs, ring, key]


def _point_words(row: Any, images: str) -> str:
    title = f"<b>{shorten(row.title, 60)}</b><br>" if hasattr(row, "title") else ""
    return (
        f"{title}ratio {row.ratio:.2f}, {100 * row.macs_left:.0f} % of the multiply-accumulates left<br>"
        f"{100 * row.accuracy:.2f} % ({100 * row.low:.2f} to {100 * row.high:.2f}) of {row.images:,} {images}"
    )


def _baseline_words(baseline: float, ink: str) -> dict[str, Any]:
    return {
        "xref": "paper", "x": 1, "xanchor": "right", "y": 100 * baseline, "yanchor": "bottom", "showarrow": False,
        "text": f"baseline {100 * baseline:.2f} %", "font": {"size": 11, "color": ink},
    }  # fmt: skip


def _knee(bend: Bend, known: Curves, along: str, ink: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dashed line at the knee, and its name at the foot."""
    x = bend.ratio if along == "ratio" else 100 * bend.macs_left
    line = {"color": ink, "width": 1.2, "dash": "dash"}
    shape = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line, "layer": "below"}
    note = {
        "x": x, "yref": "paper", "y": 0.02, "xanchor": "left", "xshift": 5, "yanchor": "bottom", "showarrow": False,
        "text": f"knee: {bend.ratio:g}" if along == "ratio" else f"knee: {100 * bend.macs_left:.0f} % left",
        "font": {"size": 11, "color": ink},
    }  # fmt: skip
    return shape, note


def _heights(known: Curves, zoomed: bool) -> list[float]:
    shown = [known.runs] if zoomed and len(known.runs) else [known.scan, known.runs]
    ends = [float(value) for frame in shown for name in ("low", "high") for value in frame[name]]
    ends += [] if known.baseline is None else [known.baseline]
    low, high = 100 * min(ends, default=0.0), 100 * max(ends, default=1.0)
    spare = 0.07 * (high - low) or 1.0
    return [low - spare, high + spare]


def rounds(done: Sequence[Round], judging: Judging = LABELLED, *, colour: str, ink: str) -> go.Figure:
    """Accuracy in per cent after each cut and after its fine-tuning, joined in the order in which they happened."""
    names = [f"{number}: {100 * each.ratio:.0f} % gone" for number, each in enumerate(done, start=1)]
    steps = [
        (name, count, images, what)
        for name, each in zip(names, done, strict=True)
        for what, count, images in (
            ("after the cut", each.correct_after_cut, each.images),
            ("after fine-tuning", each.correct_after_tuning, each.images),
        )
        if count is not None
    ]
    path = go.Scatter(
        x=[name for name, *_ in steps], y=[100 * count / images for _, count, images, _ in steps], mode="lines",
        line={"color": ink, "width": 1}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    looks = {
        "after the cut": {"color": CLEAR, "size": 10, "line": {"color": colour, "width": 2}},
        "after fine-tuning": {"color": colour, "size": 11},
    }
    figure = go.Figure([path, *(_stage(steps, what, look, colour) for what, look in looks.items())])
    figure.update_layout(
        xaxis={
            "title": {"text": "Round, and the share of the channels gone after it"},
            "type": "category",
            "range": [-0.5, len(done) - 0.5],
        },
        yaxis={"title": {"text": f"{judging.title} on calibration {judging.unit} (%)"}, "zeroline": False},
        legend=_LEGEND,
    )
    return framed(figure, height=HEIGHT, legend=True).update_layout(margin={"t": 34})


def _stage(steps: Sequence[tuple[str, int, int, str]], what: str, look: dict[str, Any], colour: str) -> go.Scatter:
    shown = [(name, count, images) for name, count, images, of in steps if of == what]
    y = [100 * count / images for _, count, images in shown]
    ends = [wilson_interval(count, images) for _, count, images in shown]
    error = {
        "array": [100 * high - at for at, (_, high) in zip(y, ends, strict=True)],
        "arrayminus": [at - 100 * low for at, (low, _) in zip(y, ends, strict=True)],
        "color": colour, "thickness": 1.2, "width": 4,
    }  # fmt: skip
    return go.Scatter(
        x=[name for name, *_ in shown], y=y, mode="markers", marker=look, error_y=error,
        name=what.capitalize(), customdata=[[100 * low, 100 * high] for low, high in ends],
        hovertemplate=f"%{{x}}<br>%{{y:.2f}} % {what}<br>95 % interval %{{customdata[0]:.2f}} to %{{customdata[1]:.2f}}"
        "<extra></extra>",
    )  # fmt: skip


def search(found: Search, *, colour: str, ink: str) -> go.Figure:
    """The tried ratios against what each gave, on a logarithmic axis, numbered in their order, the taken one ringed.

    A dashed line marks what was wanted.
    """
    x, y = [point.ratio for point in found.points], [point.value for point in found.points]
    low, high = 0.8 * min(*y, found.wanted), 1.25 * max(*y, found.wanted)
    ticks = log_ticks(low, high)
    figure = go.Figure(
        [
            go.Scatter(
                x=x, y=y, mode="markers+text", marker={"color": colour, "size": 11},
                textposition=[*["middle right"] * (len(x) - 1), "top right"],
                text=[f" {number}" for number in range(1, len(x) + 1)], textfont={"size": 11, "color": ink},
                hovertemplate="try%{text}: ratio %{x:.3f}<br>%{y:.2f}x<extra></extra>",
            ),
            go.Scatter(
                x=x[-1:], y=y[-1:], mode="markers", hoverinfo="skip",
                marker={"color": CLEAR, "size": 19, "line": {"color": ink, "width": 2}},
            ),
        ]
    )  # fmt: skip
    figure.add_hline(y=found.wanted, line={"color": ink, "width": 1.5, "dash": "dash"}, layer="below")
    figure.update_layout(
        annotations=[{"xref": "paper", "x": 0, "xanchor": "left", "y": log10(found.wanted), "yanchor": "bottom",
                      "showarrow": False, "text": f"wanted: {found.wanted:g}x", "font": {"size": 11, "color": ink}}],
        xaxis={"title": {"text": "Pruning ratio (share of channels)"}, "range": [-0.02, 1], "zeroline": False},
        yaxis={"title": {"text": f"{GAINS[found.target]}, logarithmic axis"}, "type": "log", "zeroline": False,
               "range": [log10(low), log10(high)], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]},
    )  # fmt: skip
    return framed(figure, height=HEIGHT)
