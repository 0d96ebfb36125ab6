"""From everything quantized to nothing: accuracy lost and latency at the measured points. Knows no streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from core.quantization import Path, PathPoint
from ui.figures.frame import framed
from ui.figures.waterfall import LOSS

HEIGHT = 400
CLEAR = "rgba(0,0,0,0)"
GAP = 0.1


def path_figure(path: Path, shown: int, *, steps: str, judged: bool = True, colour: str, ink: str) -> go.Figure:
    """Above, points of accuracy lost with one standard error and the limit; below, median latency.

    Points stand side by side in their order, as on a slider, named by their number of steps.

    `shown` is the point that is looked at, filled; `path.chosen` has a ring. `steps` is what the axis counts; `judged`
    says whether labels tell right from wrong.
    """
    lost = [point.lost_points(path.float_correct) for point in path.points]
    timed = [point for point in path.points if point.p50_ms is not None]
    what = "Accuracy lost" if judged and path.float_correct is not None else "Agreement lost"
    split = 0.34 if timed else 0.0
    figure = go.Figure([_losses(path, lost, shown, colour), *_rings(path, lost, timed, ink)])
    if timed:
        figure.add_trace(_latencies(timed, shown, colour))
    figure.update_layout(
        shapes=[_limit(path)],
        annotations=[_limit_words(path)],
        xaxis={"title": {"text": f"{steps} (measured points)"}, "type": "category", "showgrid": False,
               "range": [-0.3, len(path.points) - 0.7],
               "anchor": "y2" if timed else "y"},
        yaxis={"title": {"text": f"{what} (points)"}, "domain": [split + GAP if timed else 0, 1], "zeroline": True,
               "range": _loss_range(path, lost)},
        **({"yaxis2": {"title": {"text": "p50 (ms)"}, "domain": [0, split], "rangemode": "tozero", "zeroline": False}}
           if timed else {}),
    )  # fmt: skip
    return framed(figure, height=HEIGHT if timed else HEIGHT - 130).update_layout(margin={"r": 12, "t": 10})


def _loss_range(path: Path, lost: Sequence[float]) -> list[float]:
    margins = [point.margin_points for point in path.points]
    low = min(0.0, *(value - margin for value, margin in zip(lost, margins, strict=True)))
    high = max(path.limit_points, *(value + margin for value, margin in zip(lost, margins, strict=True)))
    spare = 0.12 * (high - low) or 0.5
    return [low - spare, high + spare]


def _look(points: Sequence[PathPoint], shown: int, colour: str) -> dict[str, Any]:
    fills = [colour if point.upgrades == shown else CLEAR for point in points]
    return {"color": fills, "size": 11, "line": {"color": colour, "width": 2}}


def _losses(path: Path, lost: Sequence[float], shown: int, colour: str) -> go.Scatter:
    margins = [point.margin_points for point in path.points]
    error = {"array": margins, "color": colour, "thickness": 1.4, "width": 4} if any(margins) else None
    return go.Scatter(
        x=[str(point.upgrades) for point in path.points], y=list(lost), mode="lines+markers", error_y=error,
        line={"color": colour, "width": 1.5}, marker=_look(path.points, shown, colour),
        customdata=[[margin, point.images] for margin, point in zip(margins, path.points, strict=True)],
        hovertemplate="%{x} steps<br>%{y:.2f} ± %{customdata[0]:.2f} points lost<br>on %{customdata[1]:,} images"
        "<extra></extra>",
    )  # fmt: skip


def _latencies(timed: Sequence[PathPoint], shown: int, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[str(point.upgrades) for point in timed], y=[point.p50_ms for point in timed], yaxis="y2",
        mode="lines+markers",
        line={"color": colour, "width": 1.5, "dash": "dot"}, marker=_look(timed, shown, colour),
        hovertemplate="%{x} steps<br>p50 %{y:.3f} ms, timed briefly<extra></extra>",
    )  # fmt: skip


def _rings(path: Path, lost: Sequence[float], timed: Sequence[PathPoint], ink: str) -> list[go.Scatter]:
    """A ring around the chosen point in each panel."""
    line = {"color": ink, "width": 2.5}
    look = {"mode": "markers", "marker": {"color": CLEAR, "size": 20, "line": line}, "hoverinfo": "skip"}
    losses = {point.upgrades: value for point, value in zip(path.points, lost, strict=True)}
    rings = [go.Scatter(x=[str(path.chosen)], y=[losses[path.chosen]], name="Chosen", **look)]
    rings += [
        go.Scatter(x=[str(path.chosen)], y=[point.p50_ms], yaxis="y2", name="Chosen", **look)
        for point in timed
        if point.upgrades == path.chosen
    ]
    return rings


def _limit(path: Path) -> dict[str, Any]:
    line = {"color": LOSS, "width": 2, "dash": "dash"}
    across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": path.limit_points, "y1": path.limit_points}
    return {**across, "line": line, "layer": "below"}


def _limit_words(path: Path) -> dict[str, Any]:
    return {
        "xref": "paper", "x": 1, "xanchor": "right", "y": path.limit_points, "yanchor": "bottom", "showarrow": False,
        "text": f"limit: {path.limit_points:g}", "font": {"size": 12, "color": LOSS},
    }  # fmt: skip
