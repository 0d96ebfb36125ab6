"""Reads the images that the studio hands over, as networks of Keras take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.data import Floats, Labels, Pixels

Name = Literal["train", "calibrate"]
Augmentation = Literal["none", "mirror", "shift"]
_SHIFT = 2
"""Pixels, for images at least a few times as wide."""


@dataclass(frozen=True, eq=False)
class Images:
    """Stored images with their classes, and how pixels become a network's input."""

    pixels: Pixels
    """uint8 [N, C, H, W], mapped into memory."""
    labels: Labels
    """int64 [N, K]: every acceptable class, padded with -1; -1 alone means unlabelled."""
    mean: tuple[float, ...]
    """Per channel, on the 0-255 scale."""
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def labelled(self) -> NDArray[np.intp]:
        """int [M]: which images have a class."""
        return np.flatnonzero(self.labels[:, 0] >= 0)

    def normalised(self, pixels: Pixels) -> Floats:
        """float32 x[N, H, W, C] of pixels[N, C, H, W] as (pixels - mean) / std."""
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.ascontiguousarray((pixels.transpose(0, 2, 3, 1).astype(np.float32) - mean) / std)

    def in_order(self, size: int, most: int | None = None) -> Iterator[Floats]:
        """float32 x[n, H, W, C] of the first `most` images, or all, `size` at a time."""
        end = len(self) if most is None else min(most, len(self))
        for start in range(0, end, size):
            yield self.normalised(self.pixels[start : min(start + size, end)])

    def shuffled(
        self, size: int, random: np.random.Generator, augmentation: Augmentation
    ) -> Iterator[tuple[Floats, Labels]]:
        """One pass over the labelled images: x[size, H, W, C] and the first acceptable class y[size] of each.

        The last few that fill no batch are left out of this pass.
        """
        order = random.permutation(self.labelled)
        for start in range(0, len(order) // size * size, size):
            rows = np.sort(order[start : start + size])
            yield self.normalised(augmented(self.pixels[rows], random, augmentation)), self.labels[rows, 0]


def read_images(folder: str, name: Name, mean: Sequence[float], std: Sequence[float]) -> Images:
    """The images that `optimizers.keras_handover` wrote under that name."""
    pixels = np.load(Path(folder) / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(Path(folder) / f"{name}-labels.npy", allow_pickle=False)
    return Images(pixels, labels, tuple(mean), tuple(std))


def augmented(pixels: Pixels, random: np.random.Generator, how: Augmentation) -> Pixels:
    """pixels[N, C, H, W], half of them mirrored at random; `shift` also moves each by up to two pixels.

    What a shifted image leaves bare repeats its edge.
    """
    if how == "none":
        return pixels
    mirrored = np.where(random.random((len(pixels), 1, 1, 1)) < 0.5, pixels[..., ::-1], pixels)
    return mirrored if how == "mirror" else _shifted(mirrored, random)


def _shifted(pixels: Pixels, random: np.random.Generator) -> Pixels:
    count, _, height, width = pixels.shape
    moves = random.integers(-_SHIFT, _SHIFT + 1, (2, count, 1))
    rows = np.clip(np.arange(height) + moves[0], 0, height - 1)
    columns = np.clip(np.arange(width) + moves[1], 0, width - 1)
    moved = pixels.transpose(0, 2, 3, 1)[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    back: Pixels = moved.transpose(0, 3, 1, 2)
    return back
