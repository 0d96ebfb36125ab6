"""ONNX Runtime's static quantizer, driven in steps. Imports onnx and onnxruntime: import it inside functions only."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from core.data import Floats
from core.progress import Progress, Steps

Method = Literal["minmax", "entropy", "percentile"]

LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators that hold or multiply what is learned: the layers of a network."""

_CHUNK = 16
_METHODS: dict[Method, CalibrationMethod] = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True)
class Grid:
    """Where the 8-bit values lie."""

    per_channel: bool
    symmetric: bool
    """Activations with zero point 0, signed; else unsigned with any zero point."""
    seven_bit_weights: bool
    layers_only: bool
    """Quantize only `LAYERS`; else every operator that has an 8-bit kernel."""


def prepared(graph: bytes, folder: Path) -> Path:
    """A file with the graph as the quantizer wants it: constants folded, BatchNorm merged, every shape known."""
    source, target = folder / "exported.onnx", folder / "prepared.onnx"
    source.write_bytes(graph)
    with _quiet():
        quant_pre_process(source, target)
    return target


def observe(path: Path, x: Floats, method: Method, grid: Grid) -> Steps[TensorsData]:
    """The range of every tensor that will be quantized, seen on x[N, C, H, W]."""
    with _quiet():
        calibrator = create_calibrator(
            path, _operators(grid), str(path.with_name("observed.onnx")), calibrate_method=_METHODS[method]
        )
    for start in range(0, len(x), _CHUNK):
        with _quiet():
            calibrator.collect_data(_Once(x[start : start + _CHUNK]))
        yield Progress(done=min(start + _CHUNK, len(x)), total=len(x), unit="images", doing="observing ranges")
    with _quiet():
        ranges: TensorsData = calibrator.compute_data()
    return ranges


def quantize(path: Path, ranges: TensorsData, grid: Grid) -> onnx.ModelProto:
    """The graph with QuantizeLinear and DequantizeLinear around what will run in 8 bits, and 8-bit weights."""
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    with _quiet():
        quantizer = QDQQuantizer(
            onnx.load(path),
            grid.per_channel,
            grid.seven_bit_weights,
            QuantType.QInt8,
            QuantType.QInt8 if grid.symmetric else QuantType.QUInt8,
            ranges,
            [],
            [],
            _operators(grid),
            symmetric if grid.symmetric else {},
        )
        quantizer.quantize_model()
    model: onnx.ModelProto = quantizer.model.model
    return model


def count_quantized(model: onnx.ModelProto) -> tuple[int, int]:
    """How many layers read both their inputs from 8-bit values, and how many layers there are."""
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in LAYERS]
    return sum(dequantized.issuperset(node.input[:2]) for node in layers), len(layers)


def _operators(grid: Grid) -> list[str]:
    return list(LAYERS) if grid.layers_only else list(QDQRegistry)


class _Once(CalibrationDataReader):  # type: ignore[misc]
    """Gives one batch, then nothing."""

    def __init__(self, x: Floats) -> None:
        self._batches = iter([{"input": x}])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the quantizer prints and its advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
