"""What a network is made of, seen in one forward pass. Imports torch: import it inside functions only."""

from __future__ import annotations

from torch import nn

from core.anatomy import Anatomy
from core.data import Floats
from core.progress import Steps


def anatomy_of(network: nn.Module, x: Floats) -> Steps[Anatomy]:
    """Modules, memory and histograms of a float network on x[N, C, H, W]."""
    yield from ()
    return Anatomy(images=len(x), modules=(), memory=())
