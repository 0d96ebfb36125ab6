"""Training images on a device, in shuffled batches. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.data import InputContract, Split


@dataclass(frozen=True, eq=False)
class Batch:
    """What one training step sees."""

    x: Tensor
    """float32 [N, C, H, W], mirrored or not, and normalised."""
    targets: Tensor
    """int64 [N]."""
    rows: Tensor
    """int64 [N]: which images of the split these are."""
    mirrored: Tensor | None
    """int64 [N]: 1 where the image is mirrored, else 0; None where images were changed in other ways too."""


class TrainingImages:
    """A split held on a device as it is stored."""

    def __init__(self, split: Split, contract: InputContract, device: torch.device) -> None:
        self.pixels = torch.tensor(split.pixels, device=device)
        self.targets = torch.tensor(split.targets, device=device)
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            for values in (contract.mean, contract.std)
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def batches(self, size: int) -> Iterator[Batch]:
        """One pass over the images in random order, each mirrored half of the time.

        Images left over by the last full batch are left out of this pass. Draws from torch's global generator.
        """
        device = self.pixels.device
        for rows in torch.randperm(len(self), device=device)[: len(self) // size * size].view(-1, size):
            mirrored = torch.randint(0, 2, (size,), device=device)
            x = self.normalised(mirror(self.pixels[rows], mirrored))
            yield Batch(x, self.targets[rows], rows, mirrored)

    def normalised(self, pixels: Tensor) -> Tensor:
        """float32 x[N, C, H, W] as the network expects it."""
        return (pixels.float() - self.mean) / self.std


def mirror(pixels: Tensor, mirrored: Tensor) -> Tensor:
    """pixels[N, C, H, W] with those images flipped left to right whose entry of mirrored[N] is 1."""
    return torch.where(mirrored.bool().view(-1, 1, 1, 1), pixels.flip(3), pixels)
