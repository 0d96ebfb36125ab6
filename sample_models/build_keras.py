"""Trains the sample model of Keras, in TensorFlow's environment, and computes its card.

`python -m sample_models.build keras_cnn_fmnist` comes here. It learns from the same images as the others.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.bundle import KerasModel
from core.data import Inputs, Split
from core.progress import Steps
from core.tflite_file import facts_of
from sample_models import datasets, networks, registry
from sample_models.model_card import ModelCard, write_card

_COUNTED_AT_ONCE = 500


@dataclass(frozen=True)
class KerasRecipe:
    """Everything that decides the outcome besides the network, the data and the seed."""

    epochs: int
    max_lr: float

    def __str__(self) -> str:
        return (
            f"AdamW, batch 256, learning rate up to {self.max_lr:g} and down along a cosine, weight decay 0.0001, "
            "random 2-pixel shifts and mirrors, fp32, one thread"
        )


RECIPES = {"keras_cnn_fmnist": KerasRecipe(epochs=30, max_lr=3e-3)}


def build(key: str, data: Split, *, seed: int) -> Steps[None]:
    """Train one model, then write its two files and its card. Raises `Unavailable` without TensorFlow."""
    recipe, started = RECIPES[key], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told = yield from _train(Path(folder), key, data, seed)
        network = KerasModel(*((Path(folder) / name).read_bytes() for name in ("model.npz", "model.tflite")))
        networks.save_keras(key, network)
        train_s = round(time.monotonic() - started, 1)
        tried = yield from ask(TENSORFLOW, "bridges.keras.eligibility:table", {"model": f"{folder}/model.npz"})
    facts, test = facts_of(network.tflite), registry.load(key).data.test
    card = ModelCard(
        key=key,
        parameter_count=facts.parameter_count,
        macs=facts.macs,
        size_bytes=networks.size_bytes(key),
        correct=count_correct(network.tflite, datasets.FASHION_CONTRACT.prepare(test.pixels), test),
        test_images=len(test),
        epochs=recipe.epochs,
        train_images=len(data),
        seed=seed,
        train_s=train_s,
        recipe=str(recipe),
        device="CPU",
        library=f"TensorFlow {told['version']}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        eligibility=tried["eligibility"],
    )
    write_card(card)


def count_correct(tflite: bytes, inputs: Inputs, test: Split) -> int:
    """How many images of the split a `.tflite` in float32 gets right, of inputs x[N, C, H, W]; on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite, num_threads=1)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    predicted = []
    for start in range(0, len(inputs), _COUNTED_AT_ONCE):
        x = np.ascontiguousarray(inputs[start : start + _COUNTED_AT_ONCE].transpose(0, 2, 3, 1))
        interpreter.resize_tensor_input(source, x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        predicted.append(interpreter.get_tensor(target).argmax(1))
    return int(test.is_correct(np.concatenate(predicted)).sum())


def _train(folder: Path, key: str, data: Split, seed: int) -> Steps[dict[str, Any]]:
    """Hand the images over and train; what `bridges.keras.building.build` returns."""
    recipe, contract = RECIPES[key], datasets.FASHION_CONTRACT
    np.save(folder / "train.npy", data.pixels)
    np.save(folder / "train-labels.npy", data.labels)
    arguments = {
        "folder": str(folder),
        "mean": list(contract.mean),
        "std": list(contract.std),
        "epochs": recipe.epochs,
        "max_lr": recipe.max_lr,
        "seed": seed,
    }
    return (yield from ask(TENSORFLOW, "bridges.keras.building:build", arguments))
