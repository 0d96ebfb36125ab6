"""Texts stand on cards in their words, images as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.data import Split
from experiments import models
from ui import examples

LABELS = np.zeros((3, 1), np.int64)
TEXTS = Split(np.zeros((3, 2, 8), np.int32), LABELS)
IMAGES = Split(np.zeros((3, 1, 28, 28), np.uint8), LABELS)
PHOTOGRAPHS = Split(np.zeros((3, 3, 224, 224), np.uint8), LABELS)


def test_what_the_examples_are() -> None:
    assert [examples.noun(split) for split in (TEXTS, IMAGES)] == ["text", "image"]
    assert len({examples.card_columns(split) for split in (TEXTS, IMAGES, PHOTOGRAPHS)}) == 3


def test_words_are_asked_for_only_where_there_are_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "texts", lambda _key, rows: tuple(f"text {row}" for row in rows))
    assert examples.words_of("own-a", TEXTS, [2, 0]) == {2: "text 2", 0: "text 0"}
    assert examples.words_of("own-a", IMAGES, [2, 0]) == {}


def test_a_long_text_is_cut_after_a_word() -> None:
    assert examples.in_short("one  two\n\nthree") == "one two three"
    assert examples.in_short("one two three", most=9) == "one two …"


def test_a_text_can_neither_format_nor_load_anything() -> None:
    def card() -> None:
        import numpy as np

        from core.data import Split
        from ui.examples import draw_example

        split = Split(np.zeros((1, 2, 8), np.int32), np.zeros((1, 1), np.int64))
        draw_example(split, 0, {0: "**bold** ![](https://a.example/b.png)\n\n# big"}, alt="")

    page = AppTest.from_function(card, default_timeout=60).run()
    (markdown,) = page.markdown
    bare = markdown.value.replace("\u2060", "")  # what keeps an address from becoming a link
    assert bare == r"\*\*bold\*\* \!\[\]\(https\://a.example/b.png\) \# big"
    assert "https\u2060" in markdown.value
