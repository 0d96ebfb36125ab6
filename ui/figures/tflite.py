"""The weights of a .tflite file tensor by tensor. Knows no streamlit.

`colour` is the variant's, `ink` that of text and thin lines in the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from core.tflite_file import TfliteWeights
from ui.figures.frame import framed, shorten
from ui.figures.quantization import short_names

ROW_HEIGHT, AXIS_HEIGHT = 28, 60


def zeros_by_tensor(weights: Sequence[TfliteWeights], *, colour: str, ink: str) -> go.Figure:
    """A bar for each tensor in the order of use: its share of zeros in %."""
    shares = [100 * each.zeros / each.count for each in weights]
    figure = _bars(weights, shares, [f"{share:.1f} %" for share in shares], colour, ink)
    return figure.update_xaxes(title_text="Weights that are zero (%)", range=[0, 118], tickvals=[0, 25, 50, 75, 100])


def distinct_by_tensor(weights: Sequence[TfliteWeights], *, colour: str, ink: str) -> go.Figure:
    """A bar for each tensor in the order of use: how many different numbers it holds, on a logarithmic axis."""
    counts = [float(each.distinct) for each in weights]
    figure = _bars(weights, counts, [f"{each.distinct:,}" for each in weights], colour, ink)
    highest = max([*counts, 10])
    ticks = [10**power for power in range(len(str(int(highest))))]
    figure.update_xaxes(title_text="Different values, logarithmic axis", type="log", tickvals=ticks)
    return figure.update_xaxes(range=[-0.3, len(str(int(highest))) + 0.3], ticktext=[f"{tick:,}" for tick in ticks])


def names_of(weights: Sequence[TfliteWeights]) -> list[str]:
    """What each tensor is called on an axis: the first name where the converter joined several.

    >>> names_of([])
    []
    """
    return short_names([each.name.split(";")[0].replace("/", ".") for each in weights])


def _bars(
    weights: Sequence[TfliteWeights], values: Sequence[float], words: Sequence[str], colour: str, ink: str
) -> go.Figure:
    rows = list(range(len(weights)))
    hover = [
        f"<b>{shorten(each.name, 60)}</b><br>{each.operator}, {' x '.join(map(str, each.shape))}, {each.dtype}<br>"
        f"{each.zeros:,} of {each.count:,} weights are zero<br>{each.distinct:,} different values"
        for each in weights
    ]
    bars = go.Bar(
        x=list(values), y=rows, orientation="h", width=0.62, hovertext=hover, hoverinfo="text",
        text=list(words), textposition="outside", cliponaxis=False, textfont={"size": 11, "color": ink},
        marker={"color": colour, "line": {"width": 0}},
    )  # fmt: skip
    figure = go.Figure(bars)
    figure.update_layout(
        xaxis={"side": "top", "zeroline": False},
        yaxis={"tickvals": rows, "ticktext": names_of(weights), "automargin": True,
               "range": [len(rows) - 0.4, -0.6], "showgrid": False, "zeroline": False, "tickfont": {"size": 11}},
    )  # fmt: skip
    return framed(figure, height=AXIS_HEIGHT + ROW_HEIGHT * max(1, len(rows)))
