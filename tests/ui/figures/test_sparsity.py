"""Figures of a network with zeros."""

from __future__ import annotations

import pytest

from core.sparsity import SchedulePoint, SparseLayer
from ui.figures.sparsity import blocks_by_layer, errors_by_layer, schedule, zeros_by_layer

LAYERS = (
    SparseLayer(name="stem", kind="Conv2d", weights=27, zeros=0, why_dense="Three inputs."),
    SparseLayer(
        name="body", kind="Conv2d", weights=400, zeros=100, blocks=100, blocks_with_pattern=25, output_error=0.1
    ),
    SparseLayer(name="head", kind="Linear", weights=80, zeros=40, blocks=20, blocks_with_pattern=20, output_error=0.02),
)
COLOUR, INK = "#123456", "#334155"


def words(figure: object) -> list[str]:
    """What stands at the ends of the bars."""
    return [note.text for note in figure.layout.annotations]


def test_bars_have_the_share_of_zeros_and_the_line_that_of_all() -> None:
    figure = zeros_by_layer(LAYERS, mean=140 / 507, colour=COLOUR, ink=INK)
    assert list(figure.data[0].x) == [0, 25, 50]
    assert words(figure) == ["dense", "25.0 %", "50.0 %"]
    assert figure.layout.shapes[0].x0 == pytest.approx(100 * 140 / 507)
    assert "100 of 400 weights are zero" in figure.data[0].hovertext[1]
    assert list(figure.layout.yaxis.ticktext) == ["stem", "body", "head"]


def test_layers_without_runs_of_four_or_a_known_error_say_so() -> None:
    blocks = blocks_by_layer(LAYERS, colour=COLOUR, ink=INK)
    assert (list(blocks.data[0].x), words(blocks)) == ([0, 25, 100], ["n/a", "25.0 %", "100.0 %"])
    errors = errors_by_layer(LAYERS, colour=COLOUR, ink=INK)
    assert (list(errors.data[0].x), words(errors)) == ([0, 10, 2], ["n/a", "10 %", "2 %"])
    assert errors_by_layer(LAYERS[:1], colour=COLOUR, ink=INK).layout.xaxis.range[1] > 0


def test_sparsity_holds_from_each_point_until_the_next() -> None:
    points = (SchedulePoint(step=1, sparsity=0.0), SchedulePoint(step=10, sparsity=0.5))
    (line,) = schedule(points, colour=COLOUR).data
    assert (list(line.x), list(line.y), line.line.shape) == ([1, 10], [0, 50], "hv")
