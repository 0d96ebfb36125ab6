"""Training texts on a device, in shuffled batches. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from core.data import Split
from optimizers.training.batches import Batch
from optimizers.training.settings import Augmentation


class TrainingTexts:
    """A split of tokens held on a device as it is stored. Fulfils `Examples`: texts are always taken as they are."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.tokens = torch.tensor(split.pixels, device=device)
        self.targets = torch.tensor(split.targets, device=device)

    def __len__(self) -> int:
        return len(self.tokens)

    def batches(self, size: int, augmentation: Augmentation = "mirror") -> Iterator[Batch]:
        """One pass over the texts in random order, whatever the augmentation.

        Texts left over by the last full batch are left out of this pass. Draws from torch's global generator.
        """
        for rows in torch.randperm(len(self), device=self.tokens.device)[: len(self) // size * size].view(-1, size):
            yield Batch(self.tokens[rows].long(), self.targets[rows], rows, torch.zeros_like(rows))

    def seen(self, rows: slice, *, mirrored: bool = False) -> Tensor:
        """int64 x[N, 2, length] of these texts. Raises `ValueError` for mirrored ones."""
        if mirrored:
            raise ValueError("a text has no mirror image")
        return self.tokens[rows].long()
