"""Refusals and bars on the page of what people bring."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from experiments.bundled_data import facts_of
from intake.parsing.images_layout import TREE
from intake.parsing.snippets import SAVE_WEIGHTS
from sample_models.datasets import labelled_photos


@pytest.mark.parametrize(
    ("snippet", "language", "says"),
    [(SAVE_WEIGHTS, "python", "Run this where"), (TREE, "plaintext", "What it should look like")],
)
def test_only_a_program_is_said_to_be_run(snippet: str, language: str, says: str) -> None:
    def page(snippet: str) -> None:
        from ui.bring.work import draw_refusal

        draw_refusal("0 images", snippet)

    drawn = AppTest.from_function(page, args=(snippet,), default_timeout=60).run()
    assert drawn.code[0].language == language
    assert says in drawn.caption[0].value


def test_only_classes_with_images_have_a_bar_and_it_has_a_colour_of_the_studio(monkeypatch: pytest.MonkeyPatch) -> None:
    from ui.bring import data
    from ui.theme import LIGHT

    monkeypatch.setattr(data, "is_dark", lambda: False)
    images = facts_of("photographs", "Photographs", labelled_photos(3))
    (bars,) = data.balance(images).data
    assert min(bars.x) > 0
    assert bars.marker.color == LIGHT[0]
