"""What every figure shares: its frame, its titles and its colours. Knows no streamlit.

Every table is the one of `experiments.compare.variants`: one row a variant, the baseline first. `colours` maps digests
to `#RRGGBB`; `ink` is the colour of text and thin lines in the page's theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from runtimes import RUNTIMES

PLAIN = {"displayModeBar": False}
"""Plotly's configuration: charts have no buttons of their own."""
FADED = 0.35
GREY = "#8A93A0"
WIDE_RANGE = 8
"""Values further apart than this share a logarithmic axis."""
LONGEST_TITLE = 34
"""Characters of a variant's title that fit above its bar or into a legend."""
Colours = Mapping[str, str]


def shorten(title: str, longest: int = LONGEST_TITLE) -> str:
    """The title for a legend: its middle left out where it is too long, since its end names the runtime.

    Characters that plotly would read as HTML are made harmless.
    """
    if len(title) > longest:
        head = (longest - 1) * 3 // 5
        title = f"{title[:head].rstrip()}…{title[len(title) - (longest - 1 - head) :].lstrip()}"
    return title.replace("&", "&amp;").replace("<", "&lt;")


def brief_titles(frame: pd.DataFrame) -> pd.Series[str]:
    """The variants' titles, without the runtime where all have the same one."""
    shared = f" · {RUNTIMES[frame.runtime.iloc[0]].title}" if frame.runtime.nunique() == 1 else ""
    return frame.title.str.replace(shared, "", n=1, regex=False) if shared else frame.title


def log_ticks(lowest: float, highest: float) -> list[float]:
    """1, 2 and 5 times the powers of ten around a range; plotly's own ticks of short ranges name single digits."""
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5)]


def framed(figure: go.Figure, *, height: int, legend: bool = False) -> go.Figure:
    """The figure with the height in pixels, margins and behaviour that all have."""
    return figure.update_layout(
        height=height,
        showlegend=legend,
        barmode="overlay",
        margin={"l": 4, "r": 4, "t": 4, "b": 4},
        dragmode=False,
        hoverlabel={"align": "left"},
    )
