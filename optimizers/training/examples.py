"""What a network is trained on, by what it expects. Imports torch: import it inside functions only."""

from __future__ import annotations

import torch

from core.data import Contract, Split, TextContract
from optimizers.training.batches import Examples
from optimizers.training.images import TrainingImages
from optimizers.training.texts import TrainingTexts


def examples_of(split: Split, contract: Contract, device: torch.device) -> Examples:
    """The split's images or texts, on the device."""
    if isinstance(contract, TextContract):
        return TrainingTexts(split, device)
    return TrainingImages(split, contract, device)
