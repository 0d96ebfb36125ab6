"""TensorRT's quantizer: NVIDIA's ModelOpt on the ONNX graph, in INT8 or FP8, weights and activations.

In convolutional networks ModelOpt chooses what to round, after what TensorRT fuses: sums with a shortcut are rounded
too. In a transformer only the layers and the products of attention are. Layers too small for tensor cores stay in float
everywhere. Every zero point is 0, as TensorRT requires, and weights have a scale per channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from core.bundle import OnnxGraph
from core.data import Inputs
from core.progress import Progress, Steps
from optimizers.quantization.quantizer import Bits, Method, Quantized, Source, StaticGrid

if TYPE_CHECKING:
    from optimizers.quantization.modelopt_graph import Rounding

NumberFormat = Literal["int8", "fp8"]
Rest = Literal["fp32", "fp16"]

METHODS: Mapping[Method, str] = {"minmax": "max", "entropy": "entropy"}
"""Calibration methods by what ModelOpt calls them."""

_BATCH = 16
"""Images that pass at once: with one alone ModelOpt takes every linear layer for a product with a vector."""


def why_refused(grid: StaticGrid) -> str | None:
    """One sentence on why ModelOpt cannot work here or with these settings, or None; imports nothing."""
    if find_spec("modelopt") is None:
        return "ModelOpt is not installed: python3 studio.py install tensorrt"
    if grid.method not in METHODS:
        return "ModelOpt calibrates by min-max or entropy"
    if not grid.per_channel:
        return "ModelOpt gives weights a scale per channel, always"
    if grid.seven_bit_weights:
        return "ModelOpt uses all 8 bits of a weight, which cannot overflow on a GPU"
    return None


class ModelOpt:
    """`modelopt.onnx.quantization.quantize`; what is not quantized computes in `rest`."""

    def __init__(self, grid: StaticGrid, *, rest: Rest = "fp32", number_format: NumberFormat = "int8") -> None:
        self.grid, self.rest, self.number_format = grid, rest, number_format
        self.title = "ModelOpt onnx.quantization.quantize"

    def observe(self, source: Source) -> Steps[ModelOptObserved]:
        """Look at the calibration images, with progress; its first call in a process imports for many seconds."""
        from optimizers.quantization.modelopt_graph import Rounding

        total = len(source.x)
        yield Progress(done=0, total=total, unit="images", doing="exporting")
        path = source.folder / "exported.onnx"
        path.write_bytes(source.onnx())
        yield Progress(done=0, total=total, unit="images", doing="observing ranges")
        rounding = Rounding(path, source, self.number_format, METHODS[self.grid.method], self.rest)
        scales = rounding.observed(_batches(source.x), dict.fromkeys(source.layers, 8))
        yield Progress(done=total, total=total, unit="images", doing="observing ranges")
        return ModelOptObserved(rounding, source.x, scales)


class ModelOptObserved:
    """The graph and the scales of what was seen."""

    def __init__(self, rounding: Rounding, x: Inputs, scales: Mapping[str, float]) -> None:
        self._rounding, self._x, self._scales = rounding, x, dict(scales)

    def quantize(self, bits: Bits) -> Quantized:
        """The graph with the layers of `bits` in 8 bits, calibrated once: one batch passes for ModelOpt's own sake.

        Only where other layers make ModelOpt round a value that was not rounded before do all images pass again.
        """
        model, missing = self._rounding.rounded(_batches(self._x[:_BATCH]), bits, self._scales)
        if missing:
            self._scales |= self._rounding.observed(_batches(self._x), bits)
            model, _ = self._rounding.rounded(_batches(self._x[:_BATCH]), bits, self._scales)
        grids = self._rounding.grids(model, bits)
        return Quantized(OnnxGraph(model.SerializeToString()), self._rounding.number_format, grids)


def _batches(x: Inputs) -> list[Inputs]:
    return [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]
