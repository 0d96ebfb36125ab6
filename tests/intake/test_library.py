"""Models of several people, planted in their folders: whose is deleted, and what keys look like."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from core.errors import BadInput
from intake.library import delete_model, folder_of, key_of, models_folder, own_models
from tests.experiments.own import plant_onnx


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))


def test_nobody_deletes_the_model_of_another() -> None:
    key = plant_onnx(owner="ada")
    with pytest.raises(BadInput, match="is not here any more"):
        delete_model("bob", key)
    shutil.copytree(folder_of(key), models_folder("bob") / key)
    delete_model("bob", key)
    assert [each.key for each in own_models("ada")] == [key]
    delete_model("ada", key)
    assert own_models("ada") == []


@pytest.mark.parametrize("key", ["", "..", "own-../x", "../models", "own-*"])
def test_what_is_no_key_deletes_nothing(key: str) -> None:
    kept = plant_onnx()
    with pytest.raises(BadInput, match="is not here any more"):
        delete_model("", key)
    assert folder_of(kept).is_dir()


def test_a_key_fits_the_store_and_tells_models_apart() -> None:
    key = key_of("A very long title, longer than anything that a key could hold of it", "content", "onnx")
    assert re.fullmatch(r"onnx-[a-z0-9-]{1,32}-[0-9a-f]{16}", key)
    assert len(key) <= 54
    assert key != key_of("A very long title, longer than anything that a key could hold of it", "other", "onnx")
