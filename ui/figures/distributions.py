"""All timed calls of each variant: how many took how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from ui.figures.axes import number
from ui.figures.frame import GREY, WIDE_RANGE, Colours, framed, log_ticks, shorten

Numbers = NDArray[np.float64]
Samples = Mapping[str, Numbers]
"""Timed calls in ms by run id."""
MOST_POINTS = 400
"""That a curve consists of."""
BINS = 300
HUMP_SHARE, HUMPS_APART = 0.1, 1.2
"""A hump stands out by at least so much of the highest one, and the next is at least so many times as far."""
ECDF_HEIGHT, ROW_HEIGHT, FRAME_HEIGHT = 420, 66, 44
BELOW = 0.3
"""How far below its violin a box is drawn, so that it hides nothing of it; rows are 1 apart."""


def cumulative(frame: pd.DataFrame, samples: Samples, colours: Colours, *, ink: str) -> go.Figure:
    """For each variant the share of its calls that took at most a time, with p50 and p95 marked.

    Curves of disturbed runs are dashed, those of other models dotted.
    """
    rows: list[Any] = list(frame.itertuples())
    figure = go.Figure([_curve(row, samples[row.run_id], colours) for row in rows])
    figure.add_traces(_marks(frame, colours, ([50] * len(frame), [95] * len(frame)), ink))
    look = {"x": 1, "xref": "x domain", "xanchor": "right", "yanchor": "bottom", "showarrow": False}
    line = {"color": ink, "width": 1, "dash": "dot"}
    across = {"type": "line", "xref": "x domain", "x0": 0, "x1": 1, "line": line, "opacity": 0.5, "layer": "below"}
    figure.update_layout(
        annotations=[
            {"y": share, "text": f"p{share}", "font": {"size": 11, "color": ink}, **look} for share in (50, 95)
        ],
        shapes=[{"y0": share, "y1": share, **across} for share in (50, 95)],
        xaxis=_time_axis(samples, frame),
        yaxis={"title": {"text": "Share of calls"}, "range": [-1, 102], "ticksuffix": " %", "zeroline": False},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )
    return framed(figure, height=ECDF_HEIGHT + 11 * len(frame), legend=True)


def _marks(frame: pd.DataFrame, colours: Colours, heights: tuple[Any, Any], ink: str) -> list[go.Scatter]:
    """A dot at each p50 and a diamond at each p95, at these heights."""
    look = {"size": 9, "color": [colours.get(digest, GREY) for digest in frame.digest], "opacity": 1}
    return [
        go.Scatter(
            x=frame[column].astype(float), y=y, mode="markers", hoverinfo="skip", showlegend=False, name=column[:3],
            marker={"symbol": symbol, "line": {"color": ink, "width": 1}, **look},
        )
        for column, y, symbol in zip(("p50_ms", "p95_ms"), heights, ("circle", "diamond"), strict=True)
    ]  # fmt: skip


def _curve(row: Any, samples: Numbers, colours: Colours) -> go.Scatter:
    ordered = np.sort(samples)
    ranks = thinned(len(ordered))
    name = shorten(row.title)
    return go.Scatter(
        x=ordered[ranks], y=100 * (ranks + 1) / len(ordered), mode="lines", name=name,
        line={"color": colours.get(row.digest, GREY), "width": 2, "shape": "hv",
              "dash": "5px,2px" if row.is_disturbed else "dot" if getattr(row, "is_beside", False) else "solid"},
        hovertemplate=f"<b>{name}</b><br>%{{y:.1f}} % of calls take at most %{{x:.3f}} ms<extra></extra>",
    )  # fmt: skip


def thinned(count: int, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """At most so many of the ranks 0 to count - 1: an even half, and a quarter ever denser towards either end."""
    if count <= most:
        return np.arange(count)
    even = np.linspace(0, count - 1, most // 2)
    towards_end = np.geomspace(1, count, most // 4) - 1
    ranks = np.concatenate([even, towards_end, count - 1 - towards_end])
    return np.unique(ranks.round().astype(np.int64))


def _time_axis(samples: Samples, frame: pd.DataFrame) -> dict[str, Any]:
    """From the shortest call to the longest one; logarithmic where they are far apart."""
    shown = [samples[run_id] for run_id in frame.run_id]
    low, high = float(min(map(np.min, shown))), float(max(map(np.max, shown)))
    look: dict[str, Any] = {"zeroline": False, "title": {"text": "Time of one call (ms)"}}
    if not is_wide(samples, frame):
        spare = 0.03 * (high - low) or 0.05 * high
        return look | {"range": [low - spare, high + spare]}
    ticks = log_ticks(low, high)
    look["title"] = {"text": "Time of one call (ms, logarithmic axis)"}
    ends = [float(np.log10(low)) - 0.04, float(np.log10(high)) + 0.04]
    return look | {"type": "log", "range": ends, "tickvals": ticks, "ticktext": [f"{tick:,g}" for tick in ticks]}


def is_wide(samples: Samples, frame: pd.DataFrame) -> bool:
    """Whether the longest of all calls takes many times as long as the shortest one."""
    shown = [samples[run_id] for run_id in frame.run_id]
    return bool(max(map(np.max, shown)) > WIDE_RANGE * min(map(np.min, shown)))


def violins(frame: pd.DataFrame, samples: Samples, colours: Colours, *, ink: str) -> go.Figure:
    """A row for each variant: the density of its calls, below it a box from p25 to p75 and a line from p5 to p95.

    A dot marks the median, a diamond p95. All violins are equally high, whatever their number of calls.
    """
    is_log = is_wide(samples, frame)
    rows: list[tuple[float, Any]] = [(-float(at), row) for at, row in enumerate(frame.itertuples())]
    places = np.array([place for place, _ in rows])
    figure = go.Figure([_violin(row, place, samples[row.run_id], colours, is_log=is_log) for place, row in rows])
    quantiles = np.array([np.quantile(samples[run_id], (0.05, 0.25, 0.75, 0.95)) for run_id in frame.run_id])
    figure.add_trace(_spans(quantiles[:, 0], quantiles[:, 3], places - BELOW, ink, width=1.2))
    figure.add_trace(_spans(quantiles[:, 1], quantiles[:, 2], places - BELOW, ink, width=5))
    figure.add_traces(_marks(frame, colours, (places - BELOW, places - BELOW), ink))
    figure.update_layout(
        annotations=[each for place, row in rows for each in _words(row, place, ink)], xaxis=_time_axis(samples, frame)
    )
    figure.update_yaxes(visible=False, range=[-len(frame) + 0.55, 0.6], fixedrange=True)
    return framed(figure, height=FRAME_HEIGHT + ROW_HEIGHT * len(frame))


def _violin(row: Any, place: float, samples: Numbers, colours: Colours, *, is_log: bool) -> go.Scatter:
    at, high = density(np.log10(samples) if is_log else samples)
    half = 0.2 * high / high.max()
    at = 10**at if is_log else at
    colour = colours.get(row.digest, GREY)
    extremes = f"{len(samples):,} calls, {number(samples.min())} to {number(samples.max())} ms"
    return go.Scatter(
        x=np.append(at, at[::-1]), y=np.append(place + half, (place - half)[::-1]), mode="lines", fill="toself",
        fillcolor=colour, line={"color": colour, "width": 1}, opacity=0.75, name=shorten(row.title), hoveron="fills",
        hoverinfo="text", text=f"<b>{shorten(row.title)}</b><br>{extremes}",
    )  # fmt: skip


def density(values: Numbers) -> tuple[Numbers, Numbers]:
    """Where, and how dense values are there: a Gaussian kernel estimate from their smallest to their largest.

    The kernel is as wide as Silverman's rule of thumb has it (Density Estimation, 1986, equation 3.31), and at least
    one of the `BINS` bins into which values are counted before.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.array([low, low]), np.ones(2)
    counts, edges = np.histogram(values, BINS, (low, high))
    bin_width = (high - low) / BINS
    width = max(_silverman(values) / bin_width, 1.0)
    reach = min(BINS - 1, int(4 * width) + 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same") / (len(values) * bin_width)
    return (edges[:-1] + edges[1:]) / 2, smooth


def _silverman(values: Numbers) -> float:
    low, high = np.quantile(values, (0.25, 0.75))
    spreads = [spread for spread in (float(np.std(values, ddof=1)), float(high - low) / 1.34) if spread > 0]
    return float(0.9 * min(spreads) * len(values) ** -0.2)


def humps(samples: Numbers) -> list[float]:
    """Times in ms around which calls crowd together, the shortest first; more than one means calls of several kinds."""
    from scipy.signal import find_peaks

    at, high = density(np.log10(samples))
    edged = np.concatenate([[0.0], high, [0.0]])
    apart = np.log10(HUMPS_APART) / max(at[1] - at[0], 1e-9)
    peaks, _ = find_peaks(edged, prominence=HUMP_SHARE * high.max(), distance=max(1.0, apart))
    return [float(10 ** at[peak - 1]) for peak in peaks]


def _spans(start: Numbers, end: Numbers, rows: Numbers, ink: str, *, width: float) -> go.Scatter:
    x = [value for first, last in zip(start, end, strict=True) for value in (first, last, None)]
    y = [place for row in rows for place in (row, row, None)]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": ink, "width": width}, hoverinfo="skip")


def _words(row: Any, place: float, ink: str) -> list[dict[str, Any]]:
    """Above a violin its title and, to the right, both percentiles."""
    p95 = "n too small" if pd.isna(row.p95_ms) else f"{number(row.p95_ms)} ms"
    look = {"xref": "x domain", "y": place + 0.42, "yanchor": "middle", "showarrow": False}
    font = {"size": 12, "color": ink}
    disturbed = " (disturbed)" if row.is_disturbed else ""
    return [
        {"x": 0, "xanchor": "left", "text": shorten(row.title) + disturbed, "font": font, **look},
        {"x": 1, "xanchor": "right", "text": f"p50 <b>{number(row.p50_ms)}</b> · p95 {p95}", "font": font, **look},
    ]
