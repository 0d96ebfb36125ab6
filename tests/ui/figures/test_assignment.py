from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.assignment import LayerGain, Ledger, Outcome
from ui.figures.assignment import LOSSES, against, frontier, scatter

COLOUR, INK = "#123456", "#654321"
GAINS = (
    LayerGain("a", 100, float_ms=0.4, int8_ms=0.1, changed_share=0.02, lost_points=1.0, divergence=1e-2),
    LayerGain("b", 400, float_ms=0.2, int8_ms=0.1, changed_share=0.0, lost_points=-0.5, divergence=0.0),
    LayerGain("c", 100, float_ms=0.1, int8_ms=0.2, changed_share=0.0, lost_points=0.0, divergence=1e-5,
              is_measured=False),
)  # fmt: skip
KNOWN = Ledger(GAINS, float_ms=1.0, int8_ms=None, conversion_ms=0.0, images=100)


def test_layers_lie_where_they_save_and_lose_and_carry_their_place() -> None:
    figure = scatter(KNOWN, ("b", "c"), "divergence", colour=COLOUR, ink=INK)
    left, chosen = figure.data
    assert (list(left.customdata), list(chosen.customdata)) == ([0], [1, 2])
    assert list(chosen.x) == pytest.approx([0.1, -0.1])
    assert figure.layout.yaxis.type == "log"
    assert list(chosen.y) == pytest.approx([5e-6, 1e-5])  # what loses nothing stands below the least that loses
    low, high = figure.layout.yaxis.range
    assert 10**low < 5e-6 < 1e-2 < 10**high
    assert list(chosen.marker.symbol) == ["circle", "diamond"]
    assert list(left.marker.symbol) == ["circle-open"]
    assert chosen.marker.size[0] > chosen.marker.size[1]
    assert "takes longer by 0.1000 ms, estimated" in chosen.hovertext[1]


def test_points_may_be_gained_so_their_axis_is_linear() -> None:
    figure = scatter(KNOWN, (), "lost_points", colour=COLOUR, ink=INK)
    assert figure.layout.yaxis.type is None
    assert sorted(figure.data[0].y) == [-0.5, 0.0, 1.0]


def test_the_curve_goes_from_nothing_to_the_fastest_and_shows_the_choice() -> None:
    line, here = frontier(KNOWN, ("a",), "changed_share", colour=COLOUR, ink=INK).data
    assert list(line.x) == pytest.approx([0, 0, 2])
    assert list(line.y) == pytest.approx([1.0, 0.9, 0.6])
    assert (here.x[0], here.y[0]) == pytest.approx((2, 0.7))


def test_runs_lie_beside_the_line_of_equal_predicted_and_measured() -> None:
    off = Outcome("1", "INT8", KNOWN.predict(("a",)), ms=0.8, interval_ms=(0.79, 0.82), changed_share=None,
                  lost_points=None, unasked=frozenset(), is_base=False, is_disturbed=True)  # fmt: skip
    line, dot, base = against(
        [off, replace(off, ms=0.7, is_base=True, is_disturbed=False)], KNOWN, colours=["#111111", "#222222"], ink=INK
    ).data
    assert list(line.x) == list(line.y)
    assert (dot.x[0], dot.y[0]) == pytest.approx((0.7, 0.8))
    assert (dot.marker.symbol, base.marker.symbol) == ("circle", "square")
    assert (dot.error_y.array[0], dot.error_y.arrayminus[0]) == pytest.approx((0.02, 0.01))
    assert "(+14.3 %)" in dot.hovertext[0]
    assert ["disturbed" in each.hovertext[0] for each in (dot, base)] == [True, False]


def test_losses_are_written_with_their_unit() -> None:
    assert LOSSES["divergence"].in_words(0.0000754) == "0.000075 nats"
    assert LOSSES["changed_share"].in_words(0.0123) == "1.2 %"
    assert LOSSES["lost_points"].in_words(-0.39) == "-0.39 points"
