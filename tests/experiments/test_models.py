"""Models by key, as each person may see them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import sample_models
from core.errors import BadInput
from experiments import models
from tests.experiments.own import plant_onnx

KERAS = "keras_cnn_fmnist"
ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize(
    ("key", "runtime"),
    [
        ("resnet_fmnist", "pytorch"),
        ("keras_cnn_fmnist", "litert"),
        ("own-mine-0123456789abcdef", "pytorch"),
        ("onnx-mine-0123456789abcdef", "onnxruntime"),
        ("keras-mine-0123456789abcdef", "litert"),
        ("tflite-mine-0123456789abcdef", "litert"),
    ],
)
def test_the_key_alone_tells_where_the_untouched_model_runs(key: str, runtime: str) -> None:
    assert models.baseline_runtime(key) == runtime


def test_the_sample_of_keras_is_data_and_needs_neither_torch_nor_tensorflow() -> None:
    code = f"""
import sys
from experiments import models
bundle = models.load("{KERAS}")
assert bundle.form == models.find("{KERAS}").form == "keras"
found = {{"torch", "tensorflow"}} & set(sys.modules)
sys.exit(f"imported {{found}}" if found else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_what_the_card_of_a_sample_refuses_is_known_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    card = replace(sample_models.card(KERAS), eligibility={"keras_qat": "It has a layer.", "keras_pruning": ""})
    monkeypatch.setattr(sample_models, "card", lambda key: card)
    assert models._of_sample.__wrapped__(KERAS).refusals == {"keras_qat": "It has a layer."}
