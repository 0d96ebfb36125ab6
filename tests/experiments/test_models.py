"""Models by key, as each person may see them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadInput
from experiments import models
from tests.experiments.own import plant_onnx


def test_another_persons_model_is_neither_here_nor_has_a_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    key = plant_onnx(owner="ada", title="Secret")
    assert models.is_here(key)
    assert models.is_here(key, "ada")
    assert not models.is_here(key, "bob")
    assert not models.is_here(key, "")
    assert [models.title_of(key, each) for each in (None, "ada", "bob", "")] == ["Secret", "Secret", key, key]
    models.check_usable(key, "ada")
    with pytest.raises(BadInput, match=f"There is no model {key}"):
        models.check_usable(key, "bob")
    assert models.is_here(models.FALLBACK, "bob")
