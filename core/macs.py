"""The arithmetic of one image. Imports torch inside its function."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from core.data import Contract

if TYPE_CHECKING:
    from torch import nn


def count_macs(module: nn.Module, contract: Contract) -> int:
    """Multiply-accumulates of one image in convolutions, linear layers and attention, by running it once on the CPU."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter sees no attention in CPU flash kernels, nor in the fused layers that PyTorch takes without gradients.
    network = copy.deepcopy(module).float().cpu().eval().requires_grad_()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.from_numpy(contract.example(1)))
    return int(counter.get_total_flops()) // 2
