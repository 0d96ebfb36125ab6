"""Who pays as figures: cells are counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from core.data import Split
from core.judging import LABELLED
from experiments.flips import class_changes
from ui.figures.classes import (
    DARK,
    LIGHT,
    MOST_ACROSS,
    MOST_CLASSES,
    TEXT_DARK,
    TEXT_LIGHT,
    cells,
    changed_classes,
    class_map,
    stage_bars,
)

COLOURS = {"INT8": "#1D62D3", "Pruned <b>": "#D97706"}


def changes_of(classes: int, per_class: int, *, lost: dict[str, dict[int, int]]) -> Any:
    """The baseline has all images right; each variant loses the given number of images of some classes."""
    targets = np.repeat(np.arange(classes), per_class)
    split = Split(np.zeros((len(targets), 1, 1, 1), np.uint8), targets[:, None])
    variants = {}
    for title, counts in lost.items():
        predictions = targets.copy()
        for label, count in counts.items():
            predictions[np.flatnonzero(targets == label)[:count]] = (label + 1) % classes
        variants[title] = predictions
    return class_changes(split, targets, variants, [f"class {label}" for label in range(classes)])


def drawn(changes: Any, *, dark: bool = False) -> Any:
    return class_map(changes, colours=COLOURS, ink="#000000", dark=dark)


FEW = changes_of(3, 100, lost={"INT8": {1: 2}, "Pruned <b>": {0: 3, 1: 20}})


def test_a_cell_is_the_points_that_a_class_lost_in_a_variant() -> None:
    figure = drawn(FEW)
    assert figure.data[0].z.tolist() == [[-2, 0], [-20, -3]]
    assert list(figure.layout.xaxis.ticktext) == ["class 1", "class 0"]
    assert [title.rpartition(" ")[2] for title in figure.layout.yaxis.ticktext] == ["INT8", "&lt;b>"]
    assert "#1D62D3" in figure.layout.yaxis.ticktext[0]
    assert "2 lost, 0 gained, of 100" in figure.data[0].hovertext[0][0]


def test_stars_are_where_mcnemar_after_holm_says_so() -> None:
    table = cells(FEW)
    exact = [
        float(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)
        for lost, gained in table[["lost", "gained"]].to_numpy()
    ]
    expected = multipletests(exact, method="holm")[1]
    assert table.p_value.to_numpy() == pytest.approx(expected)
    assert table.significant.tolist() == (expected < 0.05).tolist()
    texts = drawn(FEW).data[0].text
    assert [[("*" in cell) for cell in row] for row in texts] == [[False, False], [True, False]]


def test_a_class_nobody_changed_is_left_out() -> None:
    assert changed_classes(FEW) == ["class 1", "class 0"]
    assert changed_classes(changes_of(3, 10, lost={"INT8": {}})) == []


def test_many_classes_go_down_and_too_many_are_cut_to_those_that_changed_most() -> None:
    many = changes_of(60, 100, lost={"INT8": {label: label + 1 for label in range(60)}})
    figure = drawn(many)
    assert len(changed_classes(many)) == MOST_CLASSES > MOST_ACROSS
    assert figure.layout.yaxis.ticktext[0] == "class 59"
    assert figure.data[0].z[:, 0] == pytest.approx(np.arange(-60, -20))
    assert "INT8" in figure.layout.xaxis.ticktext[0]


def test_no_change_is_the_middle_of_the_colours_and_small_changes_stay_pale() -> None:
    tiny = changes_of(2, 1000, lost={"INT8": {0: 1}})
    assert (drawn(tiny).data[0].zmin, drawn(tiny).data[0].zmax) == (-1, 1)
    assert (drawn(FEW).data[0].zmin, drawn(FEW).data[0].zmax) == (-20, 20)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(("colours", "ink"), [(LIGHT, TEXT_LIGHT), (DARK, TEXT_DARK)])
def test_numbers_are_legible_on_every_cell(colours: tuple[str, ...], ink: str) -> None:
    for colour in colours:
        dim, bright = sorted((luminance(colour), luminance(ink)))
        assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_stages_show_what_they_turned_wrong_to_the_left_and_right_to_the_right() -> None:
    counts = pd.DataFrame({"right_to_wrong": [0, 1200], "wrong_to_right": [2, 40]}, index=["ONNX Runtime", "INT8"])
    figure = stage_bars(counts, LABELLED, ink="#000000", dark=False)
    lost, gained, _ = figure.data
    assert (list(lost.x), list(gained.x)) == ([0, -1200], [2, 40])
    assert (lost.marker.color, gained.marker.color) == (LIGHT[0], LIGHT[2])
    written = [annotation.text for annotation in figure.layout.annotations]
    assert written == ["ONNX Runtime", "0", "2", "INT8", "1,200", "40"]
    low, high = figure.layout.xaxis.range
    assert low < -1200
    assert high > 40
