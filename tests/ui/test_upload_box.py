"""The box that files are dropped on, as far as it is drawn without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from experiments.store import Store
from intake import sandbox
from intake.library import own_folder
from ui.upload_box import limits_in_words, why_off


def page() -> None:
    import streamlit as st

    from ui.upload_box import upload_box

    st.write(f"model {upload_box('model', key='a')}, data {upload_box('data', key='b')}")


def test_a_page_with_boxes_is_drawn_and_nothing_has_come_yet(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "why_unavailable", lambda: None)
    drawn = AppTest.from_function(page, default_timeout=60).run()
    assert not drawn.exception
    assert drawn.markdown[0].value == "model None, data None"


def test_the_limits_and_the_room_that_is_left_are_told_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_QUOTA_GB", "0.5")
    Path(own_folder("") / "something").write_bytes(bytes(12 * 2**20))
    assert limits_in_words("data").endswith("up to 8 GiB and 50,000 images. 500 MiB of your 512 MiB are free.")
    assert "up to 4 GiB." in limits_in_words("model")


def test_where_nothing_confines_the_reader_the_box_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "why_unavailable", lambda: "this system has no sandbox.")
    assert why_off() == "Uploads are off: this system has no sandbox."
