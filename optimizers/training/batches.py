"""What one training step sees, and where it comes from. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from optimizers.training.settings import Augmentation


@dataclass(frozen=True, eq=False)
class Batch:
    """What one training step sees."""

    x: Tensor
    """float32 [N, C, H, W], changed as the augmentation says, and normalised; of texts int64 [N, 2, length]."""
    targets: Tensor
    """int64 [N]."""
    rows: Tensor
    """int64 [N]: which examples of the split these are."""
    mirrored: Tensor | None
    """int64 [N]: 1 where the image is mirrored, else 0; None where images were changed in other ways too."""


class Examples(Protocol):
    """A split held on a device."""

    targets: Tensor
    """int64 [N]."""

    def __len__(self) -> int: ...

    def batches(self, size: int, augmentation: Augmentation = "mirror") -> Iterator[Batch]:
        """One pass over the examples in random order, changed as the augmentation says.

        Those left over by the last full batch are left out of this pass. Draws from torch's global generator.
        """

    def seen(self, rows: slice, *, mirrored: bool = False) -> Tensor:
        """These examples as the network takes them, as stored or mirrored."""
