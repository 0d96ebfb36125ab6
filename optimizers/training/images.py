"""Training images on a device, in shuffled batches. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from core.data import InputContract, Split
from optimizers.training.batches import Batch
from optimizers.training.settings import Augmentation

PAD = 2
"""Pixels by which an image is shifted at most, as the sample models saw them."""
_ERASED = 0.5
"""Share of the images that lose a rectangle."""
_AREA = (0.02, 0.4)
"""Of the image: the smallest and the largest rectangle."""
_LONGEST = 1 / 0.3
"""Height over width of the tallest rectangle, and width over height of the widest."""


class TrainingImages:
    """A split held on a device as it is stored. Fulfils `Examples`."""

    def __init__(self, split: Split, contract: InputContract, device: torch.device) -> None:
        self.pixels = torch.tensor(split.pixels, device=device)
        self.targets = torch.tensor(split.targets, device=device)
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            for values in (contract.mean, contract.std)
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, size: int, augmentation: Augmentation = "mirror") -> Iterator[Batch]:
        """One pass over the images in random order, changed as the augmentation says.

        Images left over by the last full batch are left out of this pass. Draws from torch's global generator.
        """
        for rows in torch.randperm(len(self), device=self.pixels.device)[: len(self) // size * size].view(-1, size):
            yield self._batch(rows, augmentation)

    def _batch(self, rows: Tensor, augmentation: Augmentation) -> Batch:
        mirrored = torch.zeros_like(rows)
        if augmentation != "none":
            mirrored = torch.randint(0, 2, (len(rows),), device=rows.device)
        pixels, is_known = mirror(self.pixels[rows], mirrored), augmentation in ("none", "mirror")
        x = self.normalised(pixels if is_known else shift(pixels))
        if augmentation == "erase":
            x = erase(x)
        return Batch(x, self.targets[rows], rows, mirrored if is_known else None)

    def seen(self, rows: slice, *, mirrored: bool = False) -> Tensor:
        """float32 x[N, C, H, W] of these images, as stored or mirrored."""
        pixels = self.pixels[rows]
        return self.normalised(pixels.flip(3) if mirrored else pixels)

    def normalised(self, pixels: Tensor) -> Tensor:
        """float32 x[N, C, H, W] as the network expects it."""
        return (pixels.float() - self.mean) / self.std


def mirror(pixels: Tensor, mirrored: Tensor) -> Tensor:
    """pixels[N, C, H, W] with those images flipped left to right whose entry of mirrored[N] is 1."""
    return torch.where(mirrored.bool().view(-1, 1, 1, 1), pixels.flip(3), pixels)


def shift(pixels: Tensor) -> Tensor:
    """Each image of pixels[N, C, H, W] moved by up to `PAD` pixels, evenly drawn in both directions; gaps are 0."""
    (count, _, height, width), device = pixels.shape, pixels.device
    down, across = torch.randint(0, 2 * PAD + 1, (2, count, 1, 1), device=device)
    image = torch.arange(count, device=device).view(-1, 1, 1)
    rows = down + torch.arange(height, device=device).view(-1, 1)
    columns = across + torch.arange(width, device=device)
    return pad(pixels, (PAD,) * 4).permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


def erase(x: Tensor) -> Tensor:
    """Half of the images of a normalised x[N, C, H, W] with a random rectangle at 0, which is the mean.

    Random Erasing of Zhong et al. 2017, https://arxiv.org/abs/1708.04896, filled as Cutout does (DeVries and Taylor
    2017, https://arxiv.org/abs/1708.04552); a rectangle that is too long is cut to the image, not drawn anew.
    """
    (count, _, height, width), device = x.shape, x.device
    chance, size, form, down, across = torch.rand(5, count, 1, 1, 1, device=device)
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * size)
    ratio = _LONGEST ** (2 * form - 1)
    tall, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
    top, left = (down * (height - tall + 1)).floor(), (across * (width - wide + 1)).floor()
    row, column = torch.arange(height, device=device).view(-1, 1), torch.arange(width, device=device)
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    return x.masked_fill(inside & (chance < _ERASED), 0)
