"""All measures side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.ui.figures.test_bars import COLOURS, variants
from tests.ui.figures.test_pareto import random_frame
from ui.figures.parallel import NAME_GAP, parallel


def draw(frame: pd.DataFrame, chosen: str | None = None) -> Any:
    return parallel(frame, COLOURS, ink="#000000", chosen=chosen)


def heights(figure: Any, axis: int) -> list[float]:
    return [trace.y[axis] for trace in figure.data]


def names(figure: Any) -> list[Any]:
    return [each for each in figure.layout.annotations if each.xref == "paper"]


def test_the_best_is_at_the_top_and_the_worst_at_the_bottom_of_each_axis() -> None:
    figure = draw(variants())
    accuracy, p50, _, throughput = (heights(figure, axis) for axis in range(4))
    assert accuracy == pytest.approx([1, (0.925 - 0.901) / 0.029, 0])
    assert p50 == pytest.approx([0, 1, 2 / 3])
    assert throughput == pytest.approx([0, 1, 1 / 3])


def test_values_far_apart_are_placed_by_their_logarithm() -> None:
    assert heights(draw(variants(p50_ms=[100.0, 1.0, 10.0])), 1) == pytest.approx([0, 1, 0.5])


def test_the_ends_of_an_axis_are_its_best_and_its_worst_value() -> None:
    words = [each.text for each in draw(variants()).layout.annotations]
    assert "<b>Latency</b><br>p50, ms<br>0.500" in words
    assert "2.00" in words
    assert "<b>Accuracy</b><br>%<br>93.00" in words
    assert "90.10" in words


def test_what_was_not_measured_is_a_gap_and_what_nobody_has_no_axis() -> None:
    figure = draw(variants())
    gaps = [np.isnan(height) for height in heights(figure, 2)]
    assert gaps == [False, True, False]
    assert "not measured" in figure.data[1].hovertext[2]
    assert not any("Energy" in each.text for each in figure.layout.annotations)
    assert any("Energy" in each.text for each in draw(variants(joules=[0.1, 0.2, 0.3])).layout.annotations)


def test_where_all_are_alike_that_is_said() -> None:
    figure = draw(variants(memory_bytes=[2**20] * 3))
    assert heights(figure, 6) == [0.5] * 3
    assert "all alike" in [each.text for each in figure.layout.annotations]


@pytest.mark.parametrize("count", [1, 2, 9, 15])
def test_names_keep_their_distance_and_their_order(count: int) -> None:
    figure = draw(random_frame(2, count).assign(memory_bytes=[5, *[7] * (count - 1)]))
    placed = np.array([each.y for each in names(figure)])
    wanted = np.array([trace.y[-2] for trace in figure.data])
    assert len(placed) == count
    assert (np.diff(np.sort(placed)) >= NAME_GAP - 1e-9).all()
    assert placed.min() >= -1e-9
    assert placed.max() <= 1 + 1e-9
    assert all(placed[a] > placed[b] for a in range(count) for b in range(count) if wanted[a] > wanted[b])
    assert [trace.y[-1] for trace in figure.data] == pytest.approx(placed)


def test_names_have_the_variants_colours_and_the_chosen_one_stands_out() -> None:
    figure = draw(variants(), chosen="r2")
    assert [trace.line.color for trace in figure.data] == list(COLOURS.values())
    assert [COLOURS[key] in each.text for key, each in zip(COLOURS, names(figure), strict=True)] == [True] * 3
    assert np.argmax([trace.line.width for trace in figure.data]) == 1
    assert ["<b>" in each.text for each in names(figure)] == [False, True, False]


def test_hovering_shows_the_value_with_its_unit() -> None:
    assert draw(variants()).data[1].hovertext[1].endswith("Latency p50 0.500 ms")


def test_titles_cannot_bring_html_in() -> None:
    written = [each.text for each in names(draw(variants()))] + list(draw(variants()).data[2].hovertext)
    assert not any("<b>50" in each for each in written)
