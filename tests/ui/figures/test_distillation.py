"""Figures of a taught student."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ui.figures.distillation import (
    MOST_BARS,
    MOST_CLASSES,
    SMALLEST_PERCENT,
    answer_bars,
    disagreements,
    disputed,
    seed_gains,
    shown_classes,
)
from ui.figures.frame import GREY

COLOUR, INK = "#123456", "#334155"


def test_every_seed_has_both_dots_a_line_between_and_its_gain_in_words() -> None:
    seeds = pd.DataFrame({"seed": [0, 7], "alone": [90.0, 90.5], "taught": [91.0, 90.25], "points": [1.0, -0.25]})
    figure = seed_gains(seeds, colour=COLOUR, ink=INK)
    bridges, alone, taught = figure.data
    assert (alone.marker.color, taught.marker.color) == (GREY, COLOUR)
    assert (list(alone.x), list(taught.x)) == ([90.0, 90.5], [91.0, 90.25])
    assert list(bridges.x) == [90.0, 91.0, None, 90.5, 90.25, None]
    assert [note.text for note in figure.layout.annotations] == ["<b>+1.00 points</b>", "<b>-0.25 points</b>"]
    low, high = figure.layout.xaxis.range
    assert low < 90 < 91 < high


def test_the_label_is_ticked_and_small_probabilities_stay_on_a_logarithmic_axis() -> None:
    bars = pd.DataFrame(
        {"title": ["Bag", "Coat"], "teacher": [99.99, 0.01], "student": [100.0, 0.0], "is_label": [False, True]}
    )
    option = answer_bars(bars, colour=COLOUR, log=True)
    assert [row["value"] for row in option["yAxis"]["data"]] == ["Bag", "✓ Coat"]
    teacher, student = option["series"]
    assert [each["value"] for each in teacher["data"]] == [99.99, 0.01]
    assert [each["value"] for each in student["data"]] == [100.0, SMALLEST_PERCENT]
    assert (teacher["itemStyle"]["color"], student["itemStyle"]["color"]) == (GREY, COLOUR)
    assert option["xAxis"]["type"] == "log"
    assert answer_bars(bars, colour=COLOUR, log=False)["xAxis"]["min"] == 0


def test_of_many_classes_the_likeliest_and_the_label_are_drawn() -> None:
    teacher, student = np.zeros(50), np.zeros(50)
    teacher[:20], student[30] = np.linspace(0.2, 0.1, 20), 0.9
    shown = shown_classes(teacher, student, [49])
    assert shown == [*range(MOST_BARS - 2), 30, 49]
    assert shown_classes(teacher[:10], student[:10], [3]) == list(range(10))


def test_the_map_colours_disagreements_only_and_keeps_all_numbers() -> None:
    confusion = np.array([[90, 3, 0], [1, 80, 0], [0, 12, 70]])
    figure = disagreements(confusion, ["<b>", "Coat", "Boot"], ink=INK, dark=False)
    (cells,) = figure.data
    assert np.isnan(np.diag(cells.z)).all()
    assert (cells.z[0][1], cells.z[2][1], cells.zmax) == (3, 12, 12)
    assert [note.text for note in figure.layout.annotations] == ["90", "80", "70"]
    assert cells.hovertext[2][1] == "Teacher <b>Boot</b>, student <b>Coat</b>: 12 images"
    assert cells.hovertext[0][0] == "Both answer <b>&lt;b></b>: 90 images"


def test_of_many_classes_the_most_disputed_are_drawn() -> None:
    confusion = np.diag(np.full(50, 100))
    confusion[49, 3] = 7
    kept = disputed(confusion)
    assert len(kept) == MOST_CLASSES
    assert {3, 49} <= set(kept)
    assert kept == sorted(kept)
