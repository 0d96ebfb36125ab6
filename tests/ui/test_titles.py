"""Titles that stand in one drop-down."""

from __future__ import annotations

import pytest

from ui.titles import distinct


@pytest.mark.parametrize(
    ("titles", "shown"),
    [
        ({"a-1234": "Net", "b-5678": "Other"}, ["Net", "Other"]),
        ({"a-1234": "Net", "b-5678": "Net", "c": "Other"}, ["Net (1234)", "Net (5678)", "Other"]),
        ({"a-1234": "Net", "b-1234": "Net"}, ["Net (a-1234)", "Net (b-1234)"]),
        ({"": "none", "own-1234": "none"}, ["none (none)", "none (1234)"]),
    ],
)
def test_equal_titles_are_told_apart_by_the_end_of_the_key(titles: dict[str, str], shown: list[str]) -> None:
    assert list(distinct(titles).values()) == shown
    assert list(distinct(titles)) == list(titles)


def test_a_title_that_looks_like_one_told_apart_is_told_apart_too() -> None:
    shown = distinct({"a-1234": "Net", "b-5678": "Net", "c-9999": "Net (1234)"})
    assert len(set(shown.values())) == 3
