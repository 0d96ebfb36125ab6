"""A test example on a card: an image as a picture, a text in its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.data import Split
from experiments import models
from ui import text
from ui.images import picture

SMALL_IMAGE = 64
"""Pixels a side up to which an image counts as small."""
COLUMNS = {True: (6, 150), False: (4, 200)}
"""Cards a row and their narrowest width in pixels, for small images and for photographs."""
TEXT_COLUMNS = (3, 260)
"""The same for texts."""
SIDE = 224
"""Pixels of a drawn picture: those of a photograph, or of a small one each eight times as wide and high."""
SHOWN_CHARACTERS = 280
"""Of a text on a card."""


def holds_texts(split: Split) -> bool:
    """Whether the examples are tokens of texts rather than images."""
    return split.unit == "texts"


def noun(split: Split) -> str:
    """What one of them is called: `image` or `text`."""
    return split.unit.removesuffix("s")


def card_columns(split: Split) -> tuple[int, int]:
    """Cards a row and their narrowest width in pixels."""
    return TEXT_COLUMNS if holds_texts(split) else COLUMNS[_is_small(split)]


def words_of(model: str, split: Split, rows: Sequence[int]) -> dict[int, str]:
    """The texts of these rows of the model's test split; empty where it has images."""
    if not holds_texts(split):
        return {}
    return dict(zip(rows, models.texts(model, rows), strict=True))


def draw_example(split: Split, row: int, words: Mapping[int, str], *, alt: str) -> None:
    """One example of the split; `words` are those of `words_of`."""
    if row in words:
        st.markdown(text.escape(in_short(words[row])))
        return
    st.image(
        picture(split.pixels[row], side=SIDE), width="stretch", alt=alt,
        output_format="PNG" if _is_small(split) else "JPEG",
    )  # fmt: skip


def in_short(words: str, most: int = SHOWN_CHARACTERS) -> str:
    """A text in one line, cut at the end of a word where it is long."""
    line = " ".join(words.split())
    return line if len(line) <= most else f"{line[:most].rsplit(' ', 1)[0]} …"


def _is_small(split: Split) -> bool:
    width: int = split.pixels.shape[-1]
    return width <= SMALL_IMAGE
