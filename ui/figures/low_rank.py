"""The spectra of a factorised network's layers: how much each rank would keep. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from math import log10
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ui.figures.frame import GREY, framed, shorten

HEIGHT = 400
LOSSES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002)
"""Shares of lost energy that the axis names, by what is kept."""
MOST, LEAST = 0.9, 0.0005
"""Ends of the axis, as lost energy."""
CLEAR = "rgba(0,0,0,0)"
LONGEST = 60
RIGHT = 66
"""Pixels beside the plot for the words on the line."""


def spectra(curves: pd.DataFrame, layers: pd.DataFrame, energy: float, *, colour: str, ink: str) -> go.Figure:
    """Energy kept over rank, one line a layer, with the wanted energy and where each layer ends up.

    `curves` is that of `experiments.low_rank.energy_curves`, `layers` that of its `layer_table`. The axis is
    logarithmic in what is lost, since the last per cent decide. Lines are thin where a rank saves nothing.
    """
    figure = go.Figure()
    for name, curve in curves.groupby("layer", sort=False):
        figure.add_traces(_lines(str(name), curve, colour))
    if not curves.empty:
        figure.add_trace(_chosen(layers[layers["name"].isin(curves["layer"].unique())], colour))
    shown = min(max(1 - energy, LEAST), MOST)
    figure.update_layout(
        shapes=[{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": shown, "y1": shown,
                 "line": {"color": ink, "width": 1.5, "dash": "dash"}, "layer": "below"}],
        annotations=[_words(energy, shown, ink)],
        xaxis={"title": {"text": "Rank (share of the full rank)"}, "range": [0, 1.01], "tickformat": ".0%",
               "zeroline": False},
        yaxis=_energy_axis(),
    )  # fmt: skip
    return framed(figure, height=HEIGHT).update_layout(margin={"t": 10, "r": RIGHT})


def _energy_axis() -> dict[str, Any]:
    return {
        "title": {"text": "Energy kept (logarithmic in what is lost)"},
        "type": "log",
        "range": [log10(MOST), log10(LEAST)],
        "tickvals": list(LOSSES),
        "ticktext": [f"{100 * (1 - loss):.4g} %" for loss in LOSSES],
        "zeroline": False,
    }


def _lines(name: str, curve: pd.DataFrame, colour: str) -> list[go.Scatter]:
    """The ranks that save, and beyond them, thin and grey, those that do not."""
    last = int(curve["saves"].sum())
    parts = ((curve.iloc[:last], colour, 1.8), (curve.iloc[max(0, last - 1) :], GREY, 1.2))
    return [_line(name, part, tint, width) for part, tint, width in parts if len(part)]


def _line(name: str, part: pd.DataFrame, tint: str, width: float) -> go.Scatter:
    lost = 1 - part["energy"]
    return go.Scatter(
        x=part["share"], y=lost.where(lost > LEAST / 10), mode="lines", opacity=0.6,
        line={"color": tint, "width": width}, name=shorten(name, LONGEST),
        customdata=list(zip(part["rank"], part["full_rank"], 100 * part["energy"], part["kind"], strict=True)),
        hovertemplate=f"<b>{shorten(name, LONGEST)}</b> (%{{customdata[3]}})<br>rank %{{customdata[0]}} of "
        "%{customdata[1]} keeps %{customdata[2]:.2f} %<extra></extra>",
    )  # fmt: skip


def _chosen(layers: pd.DataFrame, colour: str) -> go.Scatter:
    """A marker at the rank of every layer that becomes two."""
    split = layers[layers["why_kept"] == ""]
    return go.Scatter(
        x=split["rank"] / split["full_rank"], y=(1 - split["energy"]).clip(lower=LEAST), mode="markers",
        marker={"color": colour, "size": 7, "line": {"color": CLEAR, "width": 0}}, name="Chosen rank",
        customdata=list(zip(split["name"].map(lambda name: shorten(name, LONGEST)), split["rank"], split["full_rank"],
                            100 * split["energy"], strict=True)),
        hovertemplate="<b>%{customdata[0]}</b><br>becomes two of rank %{customdata[1]}, of %{customdata[2]}<br>"
        "%{customdata[3]:.2f} % of the energy kept<extra></extra>",
    )  # fmt: skip


def _words(energy: float, shown: float, ink: str) -> dict[str, Any]:
    """Beside the plot, where no line passes."""
    return {
        "xref": "paper", "x": 1, "xanchor": "left", "xshift": 6, "y": log10(shown), "yanchor": "middle",
        "align": "left", "showarrow": False, "text": f"{100 * energy:.4g} %<br>to keep",
        "font": {"size": 12, "color": ink},
    }  # fmt: skip
