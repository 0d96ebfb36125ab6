from __future__ import annotations

import pytest

from core.errors import BadInput
from experiments.failure import sentence_of

WORDS = {"what": "The run", "smaller": "take less", "room": "delete something", "log": "Its log has the details."}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadInput("a ratio of 1.5", expected="less"), "a ratio of 1.5; expected less."),
        (OSError(28, "No space left on device"), "The disk is full. Free some space, or delete something."),
        (OSError(2, "No such file"), "The run stopped on an error nobody foresaw (FileNotFoundError: [Errno 2]"),
        (MemoryError(), "The machine ran out of memory. Close other programs, or take less."),
        (RuntimeError("std::bad_alloc\nin a library"), "The machine ran out of memory."),
        (KeyError("x\nTraceback"), "nobody foresaw (KeyError"),
    ],
)
def test_every_death_has_one_sentence(error: Exception, words: str) -> None:
    sentence = sentence_of(error, **WORDS)
    assert words in sentence
    assert "\n" not in sentence


def test_what_nobody_foresaw_is_cut_to_200_characters_and_names_the_log() -> None:
    sentence = sentence_of(ValueError("x" * 300), **WORDS)
    assert sentence == f"The run stopped on an error nobody foresaw (ValueError: {'x' * 200}). Its log has the details."
