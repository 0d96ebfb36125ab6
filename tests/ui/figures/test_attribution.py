"""Contributions as bars: they add up, also on a logarithmic axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ui.figures.attribution import contributions

NAN = math.nan


def table(measure: str, **columns: list[float]) -> pd.DataFrame:
    """Two techniques' rows of one measure as `experiments.attribution` gives them."""
    values: dict[str, list[Any]] = {
        "technique": ["structured_pruning", "int8"],
        "title": ["Pruned 50 %", "INT8 <i>"],
        "measure": [measure] * 2,
        "scale": ["points" if measure == "accuracy" else "factor"] * 2,
        "low": [NAN, NAN],
        "high": [NAN, NAN],
        "words": ["one", "two"],
    }
    return pd.DataFrame(values | columns)


POINTS = table(
    "accuracy", contribution=[-2.0, 0.5], first_in=[-1.5, 1.0], last_in=[-2.5, 0.0], low=[-2.4, 0.1], high=[-1.6, 0.9]
)
FACTORS = table("p50", contribution=[3.0, 2.0], first_in=[4.0, NAN], last_in=[2.25, 0.8])


def drawn(rows: pd.DataFrame, total: float) -> Any:
    return contributions(rows, total, colour="#1D62D3", ink="#000000")


def bars(figure: Any) -> list[list[float]]:
    return [list(trace.x) for trace in figure.data if trace.type == "bar"]


def test_points_add_up_to_the_hollow_bar() -> None:
    parts, (whole,) = bars(drawn(POINTS, -1.5))
    assert parts == [-2, 0.5]
    assert sum(parts) == pytest.approx(whole)


def test_factors_add_up_on_their_logarithmic_axis() -> None:
    figure = drawn(FACTORS, 6.0)
    parts, (whole,) = bars(figure)
    assert np.exp(parts) == pytest.approx([3, 2])
    assert sum(parts) == pytest.approx(whole)
    axis = figure.layout.xaxis
    assert [f"{math.exp(tick):g}x" for tick in axis.tickvals] == list(axis.ticktext)
    assert "1x" in axis.ticktext
    assert 2 <= len(axis.ticktext) <= 7


def test_everything_drawn_is_within_the_axis() -> None:
    for rows, total in ((POINTS, -1.5), (FACTORS, 6.0)):
        figure = drawn(rows, total)
        low, high = figure.layout.xaxis.range
        for trace in figure.data:
            shown = [value for value in trace.x if value is not None and not math.isnan(value)]
            assert all(low < value < high for value in shown)


def test_alone_and_on_top_of_the_others_are_a_ring_and_a_diamond() -> None:
    points = [trace for trace in drawn(FACTORS, 6.0).data if trace.type == "scatter"]
    ends = {trace.marker.symbol: np.exp(trace.x) for trace in points if trace.marker.symbol}
    assert ends["circle-open"] == pytest.approx([4, NAN], nan_ok=True)
    assert ends["diamond"] == pytest.approx([2.25, 0.8])


def test_only_accuracy_has_intervals_and_they_are_the_given_ones() -> None:
    for rows, expected in ((POINTS, ([-2.4, 0.1], [-1.6, 0.9])), (FACTORS, ([NAN] * 2, [NAN] * 2))):
        trace = next(trace for trace in drawn(rows, 1.0).data if trace.error_x.array is not None)
        assert np.array(trace.x) - trace.error_x.arrayminus == pytest.approx(expected[0], nan_ok=True)
        assert np.array(trace.x) + trace.error_x.array == pytest.approx(expected[1], nan_ok=True)


def test_the_words_are_those_of_the_table_and_of_the_total_and_bring_no_html_in() -> None:
    written = [annotation.text for annotation in drawn(FACTORS, 6.0).layout.annotations]
    assert written == ["Pruned 50 %", "<b>one</b>", "INT8 &lt;i>", "<b>two</b>", "All together", "<b>6.00x faster</b>"]


@pytest.mark.parametrize("factors", [[1.01, 1.0], [0.5, 1.2], [30.0, 20.0], [0.001, 1.0]])
def test_any_factor_gets_ticks_within_the_axis(factors: list[float]) -> None:
    figure = drawn(table("size", contribution=factors, first_in=factors, last_in=factors), math.prod(factors))
    low, high = figure.layout.xaxis.range
    assert len(figure.layout.xaxis.tickvals) >= 2
    assert all(low <= tick <= high for tick in figure.layout.xaxis.tickvals)
