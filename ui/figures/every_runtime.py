"""How much of the arithmetic that was saved is time saved, runtime by runtime. Knows no streamlit."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from experiments.compare import DISTURBED
from ui.figures.frame import GREY, framed

ROW_HEIGHT, FRAME = 52, 92
WIDTH = 0.5


def saved_time(frame: pd.DataFrame, *, colour: str, ink: str) -> go.Figure:
    """A bar of the measured speed-up for each measured row of `experiments.every_runtime.table`, with its interval.

    A mark across each bar tells how many times fewer multiply-accumulates there are; the grey line is the untouched
    model. A difference that other work may have made is called disturbed.
    """
    shown = frame[frame.state == "measured"].reset_index(drop=True)
    rows = list(range(len(shown)))
    figure = go.Figure([_bars(shown, rows, colour, ink), _marks(shown, rows, ink)])
    ends = shown.speedup_high.fillna(shown.speedup)
    most = max(1.0, *ends, *shown.macs_ratio)
    figure.add_vline(x=1, line={"color": GREY, "width": 2}, layer="below")
    figure.update_layout(
        annotations=[
            {"xref": "paper", "x": 1, "xanchor": "right", "y": place, "showarrow": False,
             "text": str(verdict).replace(DISTURBED, " (disturbed)"),
             "font": {"size": 12, "color": ink}}
            for place, verdict in zip(rows, shown.verdict, strict=True)
        ],
        xaxis={"title": {"text": "Times as fast, and times fewer multiply-accumulates (x)"}, "range": [0, 1.45 * most],
               "zeroline": False},
        yaxis={"tickvals": rows, "ticktext": list(shown.title), "range": [len(rows) - 0.4, -0.6], "automargin": True,
               "showgrid": False, "zeroline": False},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )  # fmt: skip
    return framed(figure, height=FRAME + ROW_HEIGHT * len(rows), legend=True).update_layout(margin={"t": 30})


def _bars(shown: pd.DataFrame, rows: list[int], colour: str, ink: str) -> go.Bar:
    up, down = shown.speedup_high - shown.speedup, shown.speedup - shown.speedup_low
    error: dict[str, Any] = {"array": up, "arrayminus": down, "color": ink, "thickness": 1.4, "width": 4}
    return go.Bar(
        x=shown.speedup, y=rows, orientation="h", width=WIDTH, marker={"color": colour, "line": {"width": 0}},
        name="Measured speed-up", error_x=error, hovertext=[_words(row) for row in shown.itertuples()],
        hoverinfo="text",
    )  # fmt: skip


def _marks(shown: pd.DataFrame, rows: list[int], ink: str) -> go.Scatter:
    """One broken line: upright at each row's ratio of multiply-accumulates, a little taller than its bar."""
    half = WIDTH / 2 + 0.12
    x = [value for ratio in shown.macs_ratio for value in (ratio, ratio, None)]
    y = [value for row in rows for value in (row - half, row + half, None)]
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": ink, "width": 3, "dash": "solid"}, name="Multiply-accumulates saved",
        hovertemplate="%{x:.2f}x fewer multiply-accumulates<extra></extra>",
    )  # fmt: skip


def _words(row: Any) -> str:
    ends = "" if pd.isna(row.speedup_low) else f" (95 % interval {row.speedup_low:.2f} to {row.speedup_high:.2f})"
    disturbed = "<br>timing disturbed" if row.is_disturbed else ""
    return (
        f"<b>{row.title}</b><br>{row.speedup:.2f}x as fast{ends}{disturbed}<br>p50 {row.p50_ms:.3f} ms, untouched "
        f"{row.reference_ms:.3f} ms<br>{row.macs_ratio:.2f}x fewer multiply-accumulates"
    )
