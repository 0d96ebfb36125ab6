"""Images with labels, and the contract that turns them into a network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class InputContract:
    """What a network expects: size, normalisation and the names of its outputs."""

    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    """Per channel, on the 0-255 scale of the stored pixels."""
    std: tuple[float, ...]
    labels: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.channels, self.height, self.width)

    def prepare(self, pixels: Pixels) -> Floats:
        """float32 x[N, C, H, W] normalised as (pixels - mean) / std."""
        mean = np.asarray(self.mean, np.float32)[None, :, None, None]
        std = np.asarray(self.std, np.float32)[None, :, None, None]
        return np.ascontiguousarray((pixels.astype(np.float32) - mean) / std)


@dataclass(frozen=True, eq=False)
class Split:
    """Stored images and the classes that count as right for each."""

    pixels: Pixels
    """uint8 [N, C, H, W]."""
    labels: Labels
    """int64 [N, K]: every acceptable class of an image, padded with -1; -1 alone means unlabelled."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def targets(self) -> Labels:
        """int64 [N]: the first acceptable class of each image."""
        return self.labels[:, 0]

    def is_correct(self, predicted: NDArray[np.integer]) -> NDArray[np.bool_]:
        """bool [N]: whether each predicted class[N] is one of the acceptable ones."""
        hits: NDArray[np.bool_] = np.any(self.labels == predicted[:, None], axis=1)
        return hits

    def take(self, count: int) -> Split:
        """The first `count` images, or all when there are fewer."""
        return Split(self.pixels[:count], self.labels[:count])


@dataclass(frozen=True, eq=False)
class DataSplits:
    """Three sets that share no image."""

    train: Split
    """May be empty: then nothing can be fine-tuned."""
    calibrate: Split
    test: Split
