"""What is written below a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.data import Split
from experiments.flips import Answers, Flips, StagesOfFlips
from ui.comparison.case import Case
from ui.comparison.pictures import acceptable, chosen, said_of
from ui.comparison.who_pays import accuracy_sentence

RUN: Any = None
NAMES = np.array(["cat", "[dog](http://x)", "crane"], object)
SPLIT = Split(np.zeros((4, 1, 28, 28), np.uint8), np.array([[0, -1], [0, 1], [2, -1], [0, -1]]))
BEFORE = Answers(np.array([0, 2, 1, 0]), np.array([0.904, 0.5, 0.5, 1.0]))
AFTER = Answers(np.array([1, 1, 0, 0]), np.array([0.316, 0.8, 0.5, 1.0]))
CASE = Case(RUN, RUN, Flips(SPLIT, BEFORE, AFTER), NAMES)
FOUND = StagesOfFlips(pd.Series({0: "INT8", 1: "Pruned 50 %"}), pd.DataFrame(index=["Pruned 50 %", "INT8"]))


def test_an_image_of_several_acceptable_classes_names_them_all() -> None:
    assert acceptable(1, CASE) == "cat or [dog](http://x)"
    assert acceptable(2, CASE) == "crane"


def test_answers_are_ticked_or_crossed_with_their_confidence_and_their_stage() -> None:
    before, after, stage = said_of(0, CASE, FOUND)
    assert before == ":small[:gray[before] :green[:material/check:] cat 90\u00a0%]"
    assert after.endswith("32\u00a0%]")
    assert ":red[:material/close:]" in after
    assert "INT8" in stage
    assert len(said_of(2, CASE, FOUND)) == len(said_of(0, CASE, None)) == 2


def test_another_acceptable_class_is_right() -> None:
    assert ":green" in said_of(1, CASE, FOUND)[1]


def test_names_cannot_bring_markdown_in() -> None:
    assert "](http" not in said_of(0, CASE, FOUND)[1]


@pytest.mark.parametrize(
    ("stage", "name", "expected"),
    [("", "", [0, 1]), ("INT8", "", [0]), ("", "cat", [0, 1]), ("INT8", "crane", []), ("Pruned 50 %", "cat", [1])],
)
def test_filters_keep_what_both_allow(stage: str, name: str, expected: list[int]) -> None:
    assert chosen(np.array([0, 1]), CASE, FOUND, stage=stage, name=name).tolist() == expected


def test_a_difference_in_accuracy_has_its_colour_only_when_it_is_one() -> None:
    targets = np.zeros((100, 1), np.int64)
    split = Split(np.zeros((100, 1, 1, 1), np.uint8), targets)
    sure = np.ones(100)

    def flips(first: int, second: int) -> Flips:
        wrong = np.arange(100)
        return Flips(split, Answers((wrong < first).astype(int), sure), Answers((wrong < second).astype(int), sure))

    assert accuracy_sentence(flips(10, 12)) == (
        "Accuracy 90.00 % → 88.00 %: no measurable difference (McNemar's exact test, p = 0.5)."
    )
    assert ":red[**-20.00 points**] (McNemar's exact test, p < 0.001)" in accuracy_sentence(flips(10, 30))
    assert ":green[**+10.00 points**] (McNemar's exact test, p = 0.002)" in accuracy_sentence(flips(20, 10))
