"""Examples with labels, and the contract that turns them into a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Stored = NDArray[np.uint8 | np.int32]
"""Examples as they are kept: pixels, or tokens."""
Inputs = NDArray[np.float32 | np.int64]
"""Examples as a network takes them."""
_IMAGE_AXES = 4
"""Of pixels[N, C, H, W]."""
Fit = Literal["crop", "squash", "pad"]
"""How an image of another shape becomes the network's: cut to its middle, distorted, or given borders."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


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
    fit: Fit = "crop"
    crop_share: float = 1.0
    """Share of the shorter side that the middle has which `crop` keeps."""
    interpolation: Interpolation = "bicubic"

    @property
    def unit(self) -> str:
        """What is counted: `images`."""
        return "images"

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (self.channels, self.height, self.width)

    def example(self, count: int) -> Inputs:
        """float32 zeros[count, C, H, W]: an input of the right form."""
        return np.zeros((count, *self.shape), np.float32)

    def prepare(self, pixels: Stored) -> Inputs:
        """float32 x[N, C, H, W] normalised as (pixels - mean) / std."""
        mean = np.asarray(self.mean, np.float32)[None, :, None, None]
        std = np.asarray(self.std, np.float32)[None, :, None, None]
        return np.ascontiguousarray((pixels.astype(np.float32) - mean) / std)


@dataclass(frozen=True)
class TextContract:
    """What a network expects that classifies sequences of tokens."""

    length: int
    """Tokens of a sequence; shorter ones are filled up."""
    padding: int
    """The token that fills up."""
    labels: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What is counted: `texts`."""
        return "texts"

    @property
    def shape(self) -> tuple[int, ...]:
        """(2, length): the tokens, and 1 where one counts or 0 where it fills up."""
        return (2, self.length)

    def example(self, count: int) -> Inputs:
        """int64 [count, 2, length]: an input of the right form, of one token that counts and nothing else."""
        x = np.full((count, 2, self.length), self.padding, np.int64)
        x[:, 1] = 0
        x[:, :, 0] = (0, 1)
        return x

    def prepare(self, pixels: Stored) -> Inputs:
        """int64 x[N, 2, length] of stored tokens[N, 2, length], which `pixels` are here."""
        return np.ascontiguousarray(pixels, np.int64)


Contract: TypeAlias = InputContract | TextContract


@dataclass(frozen=True, eq=False)
class Split:
    """Stored images, or texts, and the classes that count as right for each."""

    pixels: Stored
    """uint8 [N, C, H, W]; of texts int32 [N, 2, length], as `TextContract` says. May be a file mapped into memory."""
    labels: Labels
    """int64 [N, K]: every acceptable class of an image, padded with -1; -1 alone means unlabelled."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def unit(self) -> str:
        """What is counted: `images`, or `texts` where they are tokens."""
        return "images" if self.pixels.ndim == _IMAGE_AXES else "texts"

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
