"""The images that come with the studio, brought to the input of a network that a person brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data import DataSplits, Pixels, Stored
from core.errors import BadInput
from core.progress import Progress, Steps
from experiments.jobs import DataChoice
from intake.items import Geometry
from sample_models import datasets

REPORT_EVERY = 500


def write_bundled(
    choice: DataChoice, geometry: Geometry, labels: tuple[str, ...], classes: int, draft: Path
) -> Steps[tuple[str, ...]]:
    """Write the three splits into the draft; the names of the network's classes.

    Raises `BadInput` for a network with another number of classes.
    """
    known = _labels_of(choice)
    if classes != len(known):
        raise BadInput(
            f"The network has {classes:,} classes, and these images {len(known):,}",
            expected="as many",
            action="Choose other images",
        )
    found = datasets.fashion_mnist() if choice.bundled == "fashion_mnist" else datasets.photographs()
    splits = found if choice.train_share else DataSplits(found.train.take(0), found.calibrate, found.test)
    total = sum(len(each) for each in (splits.train, splits.calibrate, splits.test))
    done = 0
    for name, images in (("train", splits.train), ("calibrate", splits.calibrate), ("test", splits.test)):
        arrays = np.lib.format.open_memmap(
            draft / f"{name}.npy", "w+", np.uint8, (len(images), geometry.channels, geometry.height, geometry.width)
        )
        for start in range(0, len(images), REPORT_EVERY):
            arrays[start : start + REPORT_EVERY] = _fitted(images.pixels[start : start + REPORT_EVERY], geometry)
            done = done + len(images.pixels[start : start + REPORT_EVERY])
            yield Progress(done=done, total=total, unit="images", doing="preparing images")
        np.save(draft / f"{name}-labels.npy", images.labels)
    return labels or known


def _labels_of(choice: DataChoice) -> tuple[str, ...]:
    is_fashion = choice.bundled == "fashion_mnist"
    return datasets.FASHION_CONTRACT.labels if is_fashion else datasets.photo_contract().labels


def _fitted(pixels: Stored, geometry: Geometry) -> Pixels:
    """uint8 [N, C, H, W] of the stored images, resized and converted as the geometry says."""
    from PIL import Image

    from intake.parsing.geometry import fitted

    wanted = (geometry.channels, geometry.height, geometry.width)
    if pixels.shape[1:] == wanted:
        return pixels.astype(np.uint8, copy=False)
    images = (Image.fromarray(np.moveaxis(each, 0, -1).squeeze().astype(np.uint8)) for each in pixels)
    return np.stack([fitted(image, geometry) for image in images])
