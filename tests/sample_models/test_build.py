"""Building a sample model, on a training set small enough to watch."""

import gzip
import json

import numpy as np
import pytest
import torch

from core.data import Split
from core.errors import Unavailable
from sample_models import build, datasets, model_card, networks, registry
from sample_models.training import Recipe


def _write_idx(folder, pixels, labels):
    for name, header, body in (("images-idx3", 16, pixels), ("labels-idx1", 8, labels)):
        content = bytes(header) + np.ascontiguousarray(body, np.uint8).tobytes()
        (folder / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(content))


def test_held_out_images_are_left_out_of_training(tmp_path):
    bundled = datasets.fashion_mnist()
    fresh = np.stack([np.full((1, 28, 28), value, np.uint8) for value in (1, 2)])
    pixels = np.concatenate([fresh[:1], bundled.calibrate.pixels[5:6], bundled.test.pixels[9:10], fresh[1:]])
    _write_idx(tmp_path, pixels, [3, 1, 2, 4])
    training = build.read_training_set(tmp_path)
    np.testing.assert_array_equal(training.pixels, fresh)
    assert training.labels.tolist() == [[3], [4]]


def test_build_writes_weights_and_a_card_that_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr(model_card, "FOLDER", tmp_path / "cards")
    key, recipe = "student_dw_fmnist", Recipe("adamw", epochs=1, max_lr=1e-2, weight_decay=0.0)
    monkeypatch.setitem(build.RECIPES, key, recipe)
    build.build(key, datasets.fashion_mnist().train.take(512), device="cpu", seed=4)

    written = json.loads((tmp_path / "cards" / f"{key}.json").read_text())
    assert (written["epochs"], written["train_images"], written["seed"]) == (1, 512, 4)
    assert written["library"] == f"torch {torch.__version__}"
    assert "AdamW" in written["recipe"]
    bundle = registry.load(key)
    predicted = np.concatenate(
        [
            bundle.module(torch.from_numpy(bundle.contract.prepare(part))).argmax(1).detach().numpy()
            for part in np.split(bundle.data.test.pixels, 20)
        ]
    )
    assert written["correct"] == (predicted == bundle.data.test.targets).sum()


def test_a_published_model_gets_a_card_without_training(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "FOLDER", tmp_path)
    photos = datasets.photographs()
    few = Split(photos.test.pixels[:4], photos.test.labels[:4])
    monkeypatch.setattr(datasets, "photographs", lambda: type(photos)(photos.train, photos.calibrate, few))
    build.main([networks.EFFICIENTNET])
    found = registry.card(networks.EFFICIENTNET)
    assert (found.test_images, found.epochs, found.seed) == (4, None, None)


def test_a_missing_card_names_the_build_command(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "FOLDER", tmp_path)
    with pytest.raises(Unavailable, match=r"python -m sample_models\.build vit_fmnist"):
        registry.card("vit_fmnist")


def test_an_unknown_name_ends_the_command_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        build.main(["resnet"])
    assert "resnet_fmnist" in capsys.readouterr().err
