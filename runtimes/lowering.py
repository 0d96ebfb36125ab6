"""A copy of a network, ready for export. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from core.bundle import Precision
from core.reduced import cast, reduced

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class _Casts(nn.Module):
    """Computes in the network's precision; takes and gives float32, and takes tokens as they are."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, input: Tensor) -> Tensor:
        logits: Tensor = self.network(cast(input, self.dtype))
        return logits.float()


def lowered(module: nn.Module, precision: Precision) -> nn.Module:
    """A copy of the module on the CPU, in eval mode, that computes in `precision` between float32 ends.

    Modules that `core.reduced.in_float32` marked compute in float32 all the same.
    """
    network = copy.deepcopy(module).cpu().eval()
    if precision == "fp32":
        return network
    dtype = DTYPES[precision]
    return _Casts(reduced(network, dtype), dtype).eval()
