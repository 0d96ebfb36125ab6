"""Linear layers with weights in 8 or 4 bits for PyTorch: torchao's `quantize_`. Imports torch and torchao on use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.devices import Device
from core.progress import Progress, Steps
from optimizers.quantization.quantizer import Observed, Source, WeightGrid


def why_refused(grid: WeightGrid, device: Device, *, bits: int) -> str | None:
    """One sentence on why PyTorch cannot compute with such weights there, or None. Imports no library."""
    if not grid.dynamic:
        return None
    if device.kind == "cuda":
        return "PyTorch's product of integers wants more than 16 rows on a GPU, and a single image can give one"
    if bits == 4:
        return "PyTorch multiplies integers of 8 bits, not 4"
    if grid.group_size:
        return "PyTorch multiplies integers with one scale for a channel, not for groups of its inputs"
    if not grid.symmetric:
        return "PyTorch multiplies integers by weights whose zero point is 0"
    return None


@dataclass(frozen=True)
class TorchaoWeights:
    """Weights of linear layers in 8 or 4 bits; everything else, convolutions too, stays as it is."""

    grid: WeightGrid
    title: ClassVar[str] = "torchao quantize_"

    def observe(self, source: Source) -> Steps[Observed]:
        """The network as it is: weights need no calibration images."""
        from optimizers.quantization.torchao_layers import FloatNetwork

        yield Progress(done=1, total=1, unit="networks", doing="quantizing")
        return FloatNetwork(source.module, self.grid)
