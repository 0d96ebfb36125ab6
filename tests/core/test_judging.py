from __future__ import annotations

from core.judging import LABELLED, Judging

AGREEMENT = Judging("agreement", "texts")


def test_only_labels_make_right_and_wrong() -> None:
    assert LABELLED.counted(9_283, 10_000) == "9,283 of 10,000 test images right"
    assert AGREEMENT.counted(9, 10) == "9 of 10 test texts answered as by the untouched network"
    words = [AGREEMENT.title, AGREEMENT.help, AGREEMENT.superlative, AGREEMENT.right, AGREEMENT.target]
    assert not any("accura" in each or "right" in each for each in map(str.lower, (*words, *AGREEMENT.turned)))


def test_an_example_is_one_of_the_unit() -> None:
    assert (LABELLED.example, AGREEMENT.example) == ("image", "text")
