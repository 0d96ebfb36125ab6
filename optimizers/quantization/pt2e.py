"""PyTorch's static INT8 for its compiler: torchao's PT2E. Imports torch and torchao only on use."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import ClassVar

from core.devices import Device
from core.progress import Progress, Steps
from optimizers.quantization.quantizer import Method, Observed, Source, StaticGrid

_METHODS: tuple[Method, ...] = ("minmax", "mse")
_X86 = ("x86_64", "amd64")
_CHUNK = 32
_CHUNK_PIXELS = 4_000_000
"""Of all images in a chunk."""


def why_refused(grid: StaticGrid, device: Device) -> str | None:
    """One sentence on why PyTorch's compiler cannot compute on such a grid there, or None. Imports no library."""
    if grid.method not in _METHODS:
        return f"torchao chooses ranges by min-max or by MSE, not by {grid.method}"
    if grid.symmetric:
        return "PyTorch's INT8 convolutions take unsigned activations with a zero point, no symmetric ones"
    if device.kind != "cpu" or platform.machine().lower() not in _X86:
        return "PyTorch's compiler has INT8 kernels with fixed grids for x86 CPUs only"
    return None


@dataclass(frozen=True)
class Pt2e:
    """Weights and activations in INT8, in the form that PyTorch's compiler turns into oneDNN's INT8 kernels."""

    grid: StaticGrid
    title: ClassVar[str] = "torchao convert_pt2e"

    def observe(self, source: Source) -> Steps[Observed]:
        """The exported network with the range of every tensor that may be quantized."""
        from optimizers.quantization.pt2e_graph import Calibration

        yield Progress(done=0, total=len(source.x), unit="images", doing="observing ranges")
        calibration = Calibration(source, self.grid)
        chunk = max(1, min(_CHUNK, _CHUNK_PIXELS // source.x[0].size))
        for start in range(0, len(source.x), chunk):
            calibration.observe(source.x[start : start + chunk])
            yield Progress(
                done=min(start + chunk, len(source.x)), total=len(source.x), unit="images", doing="observing ranges"
            )
        return calibration
