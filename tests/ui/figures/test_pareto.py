"""One measure over another."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.measures import MEASURES, front
from tests.ui.figures.test_bars import COLOURS, MIB, variants
from ui.figures.pareto import LARGEST, Marks, trade_off

NAMES = ("Pareto front", "Chosen")


def draw(frame: pd.DataFrame, x: str = "p50", y: str = "accuracy", marks: Marks | None = None) -> Any:
    return trade_off(frame, x, y, COLOURS, ink="#000000", marks=marks or Marks())


def discs(figure: Any) -> list[Any]:
    """The variants' discs, the largest first."""
    return [trace for trace in figure.data if trace.name not in NAMES]


def random_frame(seed: int, count: int) -> pd.DataFrame:
    draws = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "run_id": [f"r{each}" for each in range(count)],
            "digest": [f"d{each}" for each in range(count)],
            "title": [f"INT8 {each} · ONNX Runtime" for each in range(count)],
            "accuracy": draws.integers(850, 950, count) / 1000,
            "p50_ms": draws.integers(1, 60, count) / 10,
            "best_throughput_per_s": draws.uniform(10, 90, count),
            "size_bytes": draws.integers(1, 20, count) * MIB,
        }
    )


def test_discs_stand_where_the_figures_are_and_their_areas_are_the_sizes() -> None:
    frame = variants()
    found = discs(draw(frame))
    assert [(disc.x[0], disc.y[0]) for disc in found] == [
        (2.0, pytest.approx(93.0)), (1.0, pytest.approx(90.1)), (0.5, pytest.approx(92.5)),
    ]  # fmt: skip
    areas = [disc.marker.size**2 for disc in found]
    assert areas == pytest.approx([LARGEST**2, LARGEST**2 * 3 / 8, LARGEST**2 * 2 / 8])
    assert [disc.marker.color for disc in found] == [COLOURS["d1"], COLOURS["d3"], COLOURS["d2"]]


def test_what_is_dominated_is_faded_and_says_so() -> None:
    on_front = {disc.name: disc.opacity > 0.9 for disc in discs(draw(variants()))}
    assert list(on_front.values()) == [True, False, True]
    words = [disc.hovertext for disc in discs(draw(variants()))]
    assert ["at least as good in both" in each for each in words] == [False, True, False]
    assert "Latency p95 not measured" in words[2]
    assert "Memory 80.00 MiB" in words[0]


@pytest.mark.parametrize(("x", "y"), [*permutations(["accuracy", "p50", "throughput", "size"], 2)])
def test_the_line_is_the_best_that_can_be_had_at_each_place(x: str, y: str) -> None:
    frame = random_frame(3, 30)
    line = draw(frame, x, y).data[0]
    corners = np.column_stack([line.x, line.y])
    xs, ys = (MEASURES[key].merit(frame).to_numpy() * MEASURES[key].scale for key in (x, y))
    signs = [1 if MEASURES[key].better == "more" else -1 for key in (x, y)]
    corner_x, corner_y = corners[:, 0] * signs[0], corners[:, 1] * signs[1]
    assert ((np.diff(corners[:, 0]) == 0) | (np.diff(corners[:, 1]) == 0)).all()
    for at in np.linspace(xs.min(), xs.max(), 200):
        best = ys[xs >= at].max()
        reached = corner_y[corner_x >= at].max()
        assert reached == pytest.approx(best)


@pytest.mark.parametrize(("x", "y"), [*permutations(["accuracy", "p50", "p95", "size", "memory"], 2)])
def test_any_two_measures_can_be_drawn(x: str, y: str) -> None:
    frame = variants()
    figure = draw(frame, x, y)
    columns = [MEASURES[key].column for key in (x, y)]
    assert len(discs(figure)) == len(frame.dropna(subset=columns))
    assert sum(disc.opacity > 0.9 for disc in discs(figure)) == front(frame, x, y).sum()
    assert MEASURES[x].title in figure.layout.xaxis.title.text
    assert MEASURES[y].unit in figure.layout.yaxis.title.text


def test_intervals_are_drawn_where_the_measure_has_them() -> None:
    disc = discs(draw(variants()))[0]
    assert (disc.y[0] - disc.error_y.arrayminus[0], disc.y[0] + disc.error_y.array[0]) == pytest.approx((92.5, 93.5))
    assert (disc.x[0] - disc.error_x.arrayminus[0], disc.x[0] + disc.error_x.array[0]) == pytest.approx((1.9, 2.1))
    assert discs(draw(variants(), "size"))[0].error_x.visible is False


def test_the_chosen_has_a_ring_and_what_breaks_a_budget_is_hollow() -> None:
    figure = draw(variants(), marks=Marks(chosen="r2", breaks={"r1": "Size", "r3": "Size, Memory"}))
    ring = next(trace for trace in figure.data if trace.name == "Chosen")
    assert (ring.x[0], ring.y[0]) == (0.5, pytest.approx(92.5))
    hollow = {disc.hovertext.split("<br>")[0]: disc.marker.color == "rgba(0,0,0,0)" for disc in discs(figure)}
    assert list(hollow.values()) == [True, True, False]
    assert "Breaks: Size, Memory" in discs(figure)[1].hovertext


def test_limits_are_lines_with_a_shade_over_what_is_beyond() -> None:
    figure = draw(variants(), marks=Marks(limits={"p50": 1.2, "accuracy": 0.92, "size": 5 * MIB}))
    across = [shape for shape in figure.layout.shapes if shape.xref == "x"]
    up = [shape for shape in figure.layout.shapes if shape.yref == "y"]
    assert len(across) == len(up) == 2
    assert across[0].x0 == across[0].x1 == across[1].x0 == 1.2
    assert across[1].x1 == pytest.approx(figure.layout.xaxis.range[1])
    assert up[1].y0 == pytest.approx(92)
    assert up[1].y1 == pytest.approx(figure.layout.yaxis.range[0])
    words = [each.text for each in figure.layout.annotations]
    assert {"at most 1.20 ms", "at least<br>92.00 %"} <= set(words)


def test_a_limit_on_a_logarithmic_axis_stands_at_its_value() -> None:
    figure = draw(variants(p50_ms=[50.0, 0.5, 1.0]), marks=Marks(limits={"p50": 10.0}))
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.shapes[0].x0 == 10
    assert next(each for each in figure.layout.annotations if "at most" in each.text).x == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 9, 40])
def test_every_variant_is_named_beside_its_disc_or_in_the_legend(count: int) -> None:
    figure = draw(random_frame(1, count))
    in_legend = [disc.name for disc in discs(figure) if disc.showlegend]
    beside = [each.text.replace("<br>", " · ") for each in figure.layout.annotations]
    assert sorted(in_legend + beside) == sorted(random_frame(1, count).title)
    assert bool(figure.layout.showlegend) == bool(in_legend)


def test_titles_cannot_bring_html_in() -> None:
    figure = draw(variants())
    written = [each.text for each in figure.layout.annotations] + [disc.hovertext for disc in discs(figure)]
    assert not any("<b>50" in each for each in written)
    assert any("&lt;b>50" in each for each in written)


def test_measures_that_no_variant_has_together_leave_the_figure_empty() -> None:
    frame = variants(joules=[0.1, np.nan, 0.3], p95_ms=[np.nan, 1.0, np.nan])
    assert discs(draw(frame, "energy", "p95")) == []


def test_an_interval_that_reaches_below_nothing_fits_on_a_logarithmic_axis() -> None:
    frame = variants(joules=[0.1, 2.0, 0.3], joules_low=[-0.05, 1.9, 0.2], joules_high=[0.2, 2.1, 0.4])
    figure = draw(frame, "energy", "p50")
    assert figure.layout.xaxis.type == "log"
    assert np.isfinite(figure.layout.xaxis.range).all()
    assert np.isfinite(draw(frame, "p50", "energy").layout.yaxis.range).all()
