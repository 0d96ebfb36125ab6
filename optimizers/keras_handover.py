"""Writes down what TensorFlow's process needs of a bundle: the network, and images as they are stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.bundle import KerasModel, ModelBundle
from core.data import InputContract, Split

MODEL = "model.npz"


@contextlib.contextmanager
def handed_over(
    bundle: ModelBundle, folder: Path, *, trains: bool = True, calibration_images: int | None = None
) -> Iterator[dict[str, Any]]:
    """Within it lies in the folder what `hand_over` writes; afterwards, however it ends, nothing of it is left."""
    try:
        yield hand_over(bundle, folder, trains=trains, calibration_images=calibration_images)
    finally:
        for name in (MODEL, *(f"{split}{end}.npy" for split in ("train", "calibrate") for end in ("", "-labels"))):
            (folder / name).unlink(missing_ok=True)


def taken(path: Path) -> bytes:
    """What a task wrote into a file, which is deleted."""
    content = path.read_bytes()
    path.unlink()
    return content


def hand_over(
    bundle: ModelBundle, folder: Path, *, trains: bool = True, calibration_images: int | None = None
) -> dict[str, Any]:
    """Writes the files that `bridges.keras.data` reads; returns the arguments `folder`, `mean` and `std` of a task.

    `model.npz` is the network; `train.npy` and `calibrate.npy` are uint8 [N, C, H, W], beside each the acceptable
    classes `train-labels.npy` int64 [N, K]. Without `trains` no training images are written. `calibration_images`
    takes only that many, the first ones, whose classes are mixed.
    """
    network, contract = keras_of(bundle), images_of(bundle)
    (folder / MODEL).write_bytes(network.content)
    if trains:
        _write(folder, "train", bundle.data.train)
    calibrate = bundle.data.calibrate
    _write(folder, "calibrate", calibrate if calibration_images is None else calibrate.take(calibration_images))
    return {"folder": str(folder), "mean": list(contract.mean), "std": list(contract.std)}


def keras_of(bundle: ModelBundle) -> KerasModel:
    """The network of Keras. Raises `TypeError` on any other: techniques check the form beforehand."""
    if not isinstance(bundle.network, KerasModel):
        raise TypeError(f"{bundle.key} is a {type(bundle.network).__name__} here, not a network of Keras")
    return bundle.network


def images_of(bundle: ModelBundle) -> InputContract:
    """What a network expects that classifies images. Raises `TypeError` for texts."""
    if not isinstance(bundle.contract, InputContract):
        raise TypeError(f"{bundle.key} classifies texts, which no technique of TensorFlow takes")
    return bundle.contract


def _write(folder: Path, name: str, split: Split) -> None:
    np.save(folder / f"{name}.npy", split.pixels)
    np.save(folder / f"{name}-labels.npy", split.labels)
