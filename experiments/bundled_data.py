"""The images that come with the studio, brought to the input of a network that a person brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data import DataSplits, Pixels, Split, Stored
from core.errors import BadInput
from core.progress import Progress, Steps
from experiments.jobs import DataChoice
from intake.items import Geometry, ImageSet
from sample_models import datasets

REPORT_EVERY = 500
SAMPLED = 1000
"""Images whose pixels are looked at for mean and deviation."""


def write_bundled(
    choice: DataChoice, geometry: Geometry, labels: tuple[str, ...], classes: int, draft: Path
) -> Steps[tuple[str, ...]]:
    """Write the three splits into the draft; the names of the network's classes.

    Raises `BadInput` for a network with another number of classes.
    """
    known = labels_of(choice.bundled)
    refuse_other_count(classes, len(known))
    found = splits_of(choice.bundled)
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


def refuse_other_count(classes: int, known: int) -> None:
    """Raise `BadInput` for a network with another number of classes than these images have."""
    if classes != known:
        raise BadInput(
            f"The network has {classes:,} classes, and these images {known:,}",
            expected="as many",
            action="Choose other images",
        )


def labels_of(bundled: str) -> tuple[str, ...]:
    """The names of the classes of `fashion_mnist` or `photographs`, in the order of their numbers."""
    return datasets.FASHION_CONTRACT.labels if bundled == "fashion_mnist" else datasets.photo_contract().labels


def splits_of(bundled: str) -> DataSplits:
    """The images of `fashion_mnist` or `photographs`."""
    return datasets.fashion_mnist() if bundled == "fashion_mnist" else datasets.photographs()


def facts_of(bundled: str, title: str, test: Split) -> ImageSet:
    """What is known of these test images of `fashion_mnist` or `photographs`: not all of the others have labels."""
    labels = labels_of(bundled)
    sample = np.asarray(test.pixels[:SAMPLED], np.float64)
    height, width = sample.shape[2:]
    return ImageSet(
        name=title,
        size_bytes=test.pixels.nbytes,
        form="arrays",
        classes=labels,
        counts={"test": len(test)},
        per_class=tuple(np.bincount(test.targets, minlength=len(labels)).tolist()),
        conversions={},
        channels=3 if sample.shape[1] == 3 else 1,
        sides=(height, height, width, width),
        mean=tuple(sample.mean((0, 2, 3)).tolist()),
        std=tuple(sample.std((0, 2, 3)).tolist()),
    )


def _fitted(pixels: Stored, geometry: Geometry) -> Pixels:
    """uint8 [N, C, H, W] of the stored images, resized and converted as the geometry says."""
    from PIL import Image

    from intake.parsing.geometry import fitted

    wanted = (geometry.channels, geometry.height, geometry.width)
    if pixels.shape[1:] == wanted:
        return pixels.astype(np.uint8, copy=False)
    images = (Image.fromarray(np.moveaxis(each, 0, -1).squeeze().astype(np.uint8)) for each in pixels)
    return np.stack([fitted(image, geometry) for image in images])
