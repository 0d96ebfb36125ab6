"""The matrix and the tensors along a network as pictures."""

from __future__ import annotations

import math

import pytest

from tests.experiments.truths import diverging
from tests.ui.test_theme import DEFICIENCIES, OKABE_ITO, contrast, smallest_distance
from ui.figures.truth import NOTHING, SHADES, TEXT, VERDICTS, Tile, matrix, probes, shades


@pytest.mark.parametrize("mode", VERDICTS)
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_verdicts_stay_further_apart_than_the_okabe_ito_palette(mode: str, deficiency: str) -> None:
    colours, seen_as = (*VERDICTS[mode].values(), NOTHING[mode]), DEFICIENCIES[deficiency]
    assert smallest_distance(colours, seen_as) > min(16, smallest_distance(OKABE_ITO, seen_as))


@pytest.mark.parametrize("mode", VERDICTS)
def test_words_can_be_read_on_every_ground(mode: str) -> None:
    grounds = (*VERDICTS[mode].values(), NOTHING[mode], *SHADES[mode])
    assert min(contrast(ground, TEXT[mode]) for ground in grounds) >= 4.5


def test_every_cell_is_a_bar_in_its_place_with_its_words_and_colour() -> None:
    tiles = [
        [Tile(("100 %", "off"), "a", verdict="same"), Tile(("failed",), "b", hatched=True)],
        [Tile(("61 %",), "c", verdict="differs"), Tile(("2 ms",), "d", shade=1.0)],
    ]
    figure = matrix(tiles, rows=["FP32", "<b>INT8"], columns=["X", "Y"], chosen=(1, 0), dark=False)
    (bars,) = figure.data
    assert [tuple(place) for place in bars.customdata] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert list(bars.x) == [0, 1, 0, 1]
    ends = [(base, base + height) for base, height in zip(bars.base, bars.y, strict=True)]
    assert all(low < row < high for (low, high), (row, _) in zip(ends, bars.customdata, strict=True))
    light = VERDICTS["light"]
    assert list(bars.marker.color) == [light["same"], NOTHING["light"], light["differs"], SHADES["light"][1]]
    assert list(bars.marker.pattern.shape) == ["", "/", "", ""]
    words = {(note.y, note.x): note.text for note in figure.layout.annotations}
    assert words[0, 0].startswith("<b>100 %</b><br>")
    (frame,) = figure.layout.shapes
    assert frame.x0 < 0 < frame.x1 < 1
    assert frame.y0 < 1 < frame.y1
    assert "&lt;b>INT8" in figure.layout.yaxis.ticktext[1]


def test_shades_reach_from_the_worst_to_the_best() -> None:
    assert shades([1.0, 2.0, 1.5, None], less_is_better=True) == [1, 0, 0.5, None]
    assert shades([0.8, 0.9], less_is_better=False) == [0, 1]
    by_log = shades([1.0, 10.0, 100.0], less_is_better=True)
    assert by_log[1] == pytest.approx(0.5)
    assert shades([3.0, 3.0], less_is_better=True) == [0.5, 0.5]
    assert shades([None], less_is_better=True) == [None]


def test_tensors_stand_in_the_order_of_the_network_on_a_logarithmic_axis() -> None:
    figure = probes(diverging(0.0, 0.01, 0.5, None, first=2), ink="#000000", dark=False)
    _, clean, wrong = figure.data
    assert list(clean.x) == [0, 1]
    assert list(wrong.x) == [2, 3]
    assert wrong.y[0] == 0.5
    assert clean.y[0] > 0
    assert math.log10(wrong.y[1]) < figure.layout.yaxis.range[1]
    assert wrong.y[1] > wrong.y[0]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.shapes[0].y0 == 0.15
    assert {"tolerance 15 %", "<b>begins here</b>", "not finite"} == {note.text for note in figure.layout.annotations}
    assert "not finite" in wrong.hovertext[1]
    assert "50 % off" in wrong.hovertext[0]
