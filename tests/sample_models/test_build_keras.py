"""Building the sample model of Keras, on a training set small enough to watch."""

import json

import pytest

from bridges.environments import TENSORFLOW
from bridges.keras.form import described
from core.progress import Metric
from sample_models import build_keras, datasets, model_card, networks, registry

KEY = "keras_cnn_fmnist"


@pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
def test_build_writes_both_files_and_a_card_that_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr(model_card, "FOLDER", tmp_path / "cards")
    monkeypatch.setitem(build_keras.RECIPES, KEY, build_keras.KerasRecipe(epochs=4, max_lr=1e-2))
    events = list(build_keras.build(KEY, datasets.fashion_mnist().train.take(1024), seed=4))

    written = json.loads((tmp_path / "cards" / f"{KEY}.json").read_text())
    assert (written["epochs"], written["train_images"], written["seed"]) == (4, 1024, 4)
    assert written["library"].startswith("TensorFlow 2.")
    assert written["eligibility"] == registry.card(KEY).eligibility
    network = registry.load(KEY).network
    assert written["parameter_count"] == described(network.content).parameter_count
    assert written["size_bytes"] == len(network.tflite)
    assert written["correct"] > 3000
    assert [event.step for event in events if isinstance(event, Metric)] == [16]
