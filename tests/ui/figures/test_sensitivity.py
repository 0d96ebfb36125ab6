from __future__ import annotations

from core.scan import Scan, ScanCell
from ui.figures.sensitivity import HURTS, end_of, heat

SCAN = Scan(
    images=200, correct=180, layers=("stem", "head"), kinds=("Conv2d", "Linear"), parameters=(10, 20),
    changes=("int8", "prune50"),
    cells=(
        ScanCell(layer="stem", change="int8", correct=179, agreed=198, divergence=0.01, output_error=0.02),
        ScanCell(layer="stem", change="prune50", correct=100, agreed=120, divergence=0.9, output_error=0.8),
        ScanCell(layer="head", change="int8", correct=180, agreed=200, divergence=0.0, output_error=0.001),
    ),
    why_missing={"head|prune50": "Its outputs are the classes."},
)  # fmt: skip


def test_each_tile_has_its_value_its_shade_and_on_hover_all_that_is_known() -> None:
    values, words = [[1.0, 40.0], [0.0, None]], [["1.00", "40.00"], ["0", ""]]
    figure = heat(SCAN, values, words, order=(1, 0), chosen=None, dark=False)
    (tiles,) = figure.data
    assert [tuple(each) for each in tiles.customdata] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [note.text for note in figure.layout.annotations] == ["<b>0</b>", "", "<b>1.00</b>", "<b>40.00</b>"]
    assert list(figure.layout.yaxis.ticktext) == ["head ", "stem "]
    lightest, darkest = HURTS["light"]
    assert (tiles.marker.color[0], tiles.marker.color[3]) == (lightest, darkest)
    assert list(tiles.marker.pattern.shape) == ["", "/", "", ""]
    assert "Its outputs are the classes." in tiles.hovertext[1]
    for part in ("179 of 200 right, 180 untouched", "2 answers changed", "divergence 0.01", "2 % off"):
        assert part in tiles.hovertext[2]


def test_long_names_keep_the_end_that_tells_them_apart() -> None:
    names = [f"backbone.stages.{stage}.blocks.3.conv_projection" for stage in (0, 1)]
    assert [end_of(name) for name in names] == [f"…es.{stage}.blocks.3.conv_projection" for stage in (0, 1)]
    assert end_of("head") == "head"
