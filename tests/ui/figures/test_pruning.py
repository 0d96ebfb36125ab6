"""Figures of a pruned network."""

from __future__ import annotations

import pytest

from core.pruning import PruningReport
from experiments.pruning import bend_of, predicted, runs_table, scan_table
from tests.experiments.pruning_reports import ROUNDS, SEARCH, report, scan_of, wide_report
from ui.figures.pruning import BINS, MOST_CELLS, MOST_ROWS, channel_map, importances, rows_of, widths
from ui.figures.pruning_curves import Curves, curves, rounds, search

LOOK = {"colour": "#1D62D3", "ink": "#334155"}


def at(found: PruningReport, ratio: float, *, alike: bool = True) -> object:
    return predicted(found, ratio, everywhere_alike=alike, round_to=1)


def test_widths_before_and_after_stand_side_by_side() -> None:
    before, after = widths(rows_of(report()), **LOOK).data
    assert list(before.x) == [8, 16, 8, 10]
    assert list(after.x) == [4, 8, 4, 10]
    assert "It gives the classes" in after.hovertext[-1]


def test_every_channel_is_a_cell_that_says_what_became_of_it() -> None:
    (cells,) = channel_map(rows_of(report()), colour="#1D62D3").data
    assert list(cells.z[0]) == [0, 1, 0, 1, 0, 1, 0, 1, *[None] * 8]
    assert cells.hovertext[0][0] == "<b>stem</b>, channel 0: importance 0.20 of the mean, gone"
    assert cells.hovertext[1][15] == "<b>first</b>, channel 15: importance 1.90 of the mean, kept"
    assert cells.hovertext[3][0] == "<b>head</b>, channel 0: kept"


def test_wide_layers_share_cells() -> None:
    found = wide_report()
    (cells,) = channel_map(rows_of(found), colour="#1D62D3").data
    assert {len(row) for row in cells.z} == {MOST_CELLS}
    assert sum(cells.z[-1]) / MOST_CELLS == pytest.approx(0.5)
    assert "channels 0 to 15: importance" in cells.hovertext[-1][0]


def test_many_layers_share_rows_with_those_that_lose_the_same_channels() -> None:
    found = report()
    many = found.model_copy(update={"layers": found.layers * MOST_ROWS})
    assert [row.name for row in rows_of(many)] == ["stem", "first"]


def test_every_channel_is_counted_on_its_side_of_the_threshold() -> None:
    found = report()
    gone, stay = importances(found, at(found, 0.25), at(found, 0.5), None, **LOOK).data  # type: ignore[arg-type]
    assert (sum(gone.y), sum(stay.y)) == (6, 18)
    assert len(gone.y) == BINS


def test_one_group_has_one_threshold_and_the_run_s_beside_it() -> None:
    found = report()
    figure = importances(found, at(found, 0.25), at(found, 0.5), 0, **LOOK)  # type: ignore[arg-type]
    lines = [(shape.x0, shape.line.dash) for shape in figure.layout.shapes]
    assert lines == [(0.4, "solid"), (0.8, "dot")]
    assert [note.text for note in figure.layout.annotations] == ["threshold: 0.40", "this run: 0.80"]


def test_the_curve_has_the_knee_in_the_unit_of_its_axis() -> None:
    found = report(scan=scan_of((0.9, 0.9, 0.88, 0.68, 0.48)))
    known = Curves(scan_table(found), runs_table([]).assign(digest=[]), 0.94, "")
    for along, x in (("ratio", 0.3), ("macs_left", 100 * scan_table(found).macs_left[2])):
        bend = bend_of(known.scan, along)
        figure = curves(known, bend, along=along, zoomed=False, colours={}, **LOOK)
        upright = [shape for shape in figure.layout.shapes if shape.x0 == shape.x1]
        assert [shape.x0 for shape in upright] == [pytest.approx(x)]
        assert any(note.text == "baseline 94.00 %" for note in figure.layout.annotations)


def test_rounds_and_tries_keep_their_order() -> None:
    path, cut, tuned = rounds(ROUNDS, **LOOK).data
    assert list(path.y) == [70, 92, 60, 91]
    assert (list(cut.y), list(tuned.y)) == ([70, 60], [92, 91])
    tries, ring = search(SEARCH, **LOOK).data
    assert (list(tries.y), list(ring.x)) == ([1.7, 2.9, 1.97], [0.55])
