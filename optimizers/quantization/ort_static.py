"""ONNX Runtime's static quantizer, driven in steps. Imports onnx and onnxruntime: import it inside functions only."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import HistogramCalibrater, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from core.bundle import Family, OnnxGraph
from core.data import Inputs
from core.onnx_export import LAYERS, LAYERS_IN_FLOAT
from core.progress import Progress, Steps
from optimizers.quantization.clipping import least_error_range
from optimizers.quantization.quantizer import (
    Bits,
    LayerGrid,
    Method,
    Observed,
    Quantized,
    Source,
    StaticGrid,
    TensorGrid,
)

_CHUNK = 16
_CHUNK_PIXELS = 640_000
"""Of all images in a chunk: the histograms want every intermediate tensor at once."""
_METHODS: dict[Method, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    # With the 128 bins it has by default there is nothing to choose between: the range is that of the first images.
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 512}),
    # Signed, because absolute values go into bins of any width, which take several times as long to fill.
    "percentile": (CalibrationMethod.Percentile, {"symmetric": False, "num_bins": 2048}),
    # The collector of the entropy method keeps signed values. Some 16 bins lie in one step of the grid.
    "mse": (CalibrationMethod.Entropy, {"num_bins": 8192}),
}


@dataclass(frozen=True)
class OrtStatic:
    """Weights and activations in INT8, in the QuantizeLinear/DequantizeLinear form that ONNX Runtime fuses."""

    grid: StaticGrid
    title: ClassVar[str] = "ONNX Runtime quantize_static"

    def observe(self, source: Source) -> Steps[Observed]:
        """The exported network with the range of every tensor that may be quantized."""
        yield Progress(done=0, total=len(source.x), unit="images", doing="observing ranges")
        prepared = _prepared(source.onnx(), source.folder)
        operators = _operators(source.family)
        ranges = yield from _ranges(prepared, source.x, self.grid, operators)
        return _Ranges(prepared.read_bytes(), ranges, self.grid, operators, source.layers)


def _prepared(graph: bytes, folder: Path) -> Path:
    """A file with the graph as the quantizer wants it: constants folded, every shape known, layers with their names."""
    source, target = folder / "exported.onnx", folder / "prepared.onnx"
    source.write_bytes(graph)
    with _quiet():
        _preprocess(source, target)
    named = {node.name for node in onnx.load_from_string(graph).graph.node if node.op_type in LAYERS}
    model = onnx.load(target)
    for place, node in enumerate(model.graph.node):
        if node.op_type in LAYERS and node.name not in named:
            # What was fused is called after the layer, with something behind.
            node.name = max((name for name in named if node.name.startswith(name)), key=len, default=node.name)
        node.name = node.name or f"{node.op_type}_{place}"
    onnx.save(model, target)
    return target


def _preprocess(source: Path, target: Path) -> None:
    """Fold constants and note shapes, by ONNX's own rules alone where those of ONNX Runtime do not know an operator."""
    try:
        quant_pre_process(source, target)
    except Exception:  # it raises plain `Exception` for shapes that it does not find, and anything for its own errors
        quant_pre_process(source, target, skip_symbolic_shape=True)


def _operators(family: Family) -> tuple[str, ...]:
    """A transformer's LayerNorm and softmax stay in float: outliers make their grids too coarse."""
    return LAYERS if family == "transformer" else tuple(QDQRegistry)


def _ranges(path: Path, x: Inputs, grid: StaticGrid, operators: Collection[str]) -> Steps[TensorsData]:
    method, options = _METHODS[grid.method]
    augmented = str(path.with_name("observed.onnx"))
    with _quiet():
        calibrator = create_calibrator(path, list(operators), augmented, method, extra_options=options)
    chunk = max(1, min(_CHUNK, _CHUNK_PIXELS // x[0].size))
    for start in range(0, len(x), chunk):
        with _quiet():
            calibrator.collect_data(_Once(x[start : start + chunk]))
        yield Progress(done=min(start + chunk, len(x)), total=len(x), unit="images", doing="observing ranges")
    if grid.method != "minmax":
        yield Progress(done=len(x), total=len(x), unit="images", doing="choosing ranges")
    if grid.method == "mse":
        return _least_error_ranges(calibrator, symmetric=grid.symmetric)
    with _quiet():
        ranges: TensorsData = calibrator.compute_data()
    return ranges


def _least_error_ranges(calibrator: HistogramCalibrater, *, symmetric: bool) -> TensorsData:
    ranges = {}
    for tensor, (counts, edges, low, high, _) in calibrator.collector.histogram_dict.items():
        ends = np.asarray(edges, np.float64)
        centres = (ends[:-1] + ends[1:]) / 2
        found = least_error_range(counts.astype(np.float64), centres, (float(low), float(high)), symmetric=symmetric)
        ranges[tensor] = tuple(np.array(end, np.float32) for end in found)
    return TensorsData(CalibrationMethod.MinMax, ranges)


@dataclass(frozen=True, eq=False)
class _Ranges:
    """A prepared graph and what was observed in it."""

    graph: bytes
    ranges: TensorsData
    grid: StaticGrid
    operators: tuple[str, ...]
    layers: tuple[str, ...]

    def quantize(self, bits: Bits) -> Quantized:
        """The graph with 8-bit weights and activations in the layers of `bits`; whatever their number, they get 8."""
        model = onnx.load_from_string(self.graph)
        kept = {node.name for node in model.graph.node if node.op_type in LAYERS and not self._has_bits(node, bits)}
        in_float = len(kept.intersection(self.layers))
        kept |= _out_of_reach(model.graph, self.operators, kept)
        symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        with _quiet():
            quantizer = QDQQuantizer(
                model,
                self.grid.per_channel,
                self.grid.seven_bit_weights,
                QuantType.QInt8,
                QuantType.QInt8 if self.grid.symmetric else QuantType.QUInt8,
                # The quantizer narrows ranges in place where an activation follows.
                TensorsData(self.ranges.calibration_method, dict(self.ranges.items())),
                [],
                sorted(kept),
                list(self.operators),
                symmetric if self.grid.symmetric else {},
            )
            quantizer.quantize_model()
        model = quantizer.model.model
        if in_float and not self.grid.symmetric:  # where all are symmetric, layers need what the mark forbids to fuse
            onnx.helper.set_model_props(model, {LAYERS_IN_FLOAT: str(in_float)})
        return Quantized(OnnxGraph(model.SerializeToString()), "int8", self._grids(model.graph))

    def _has_bits(self, node: onnx.NodeProto, bits: Bits) -> bool:
        """Of a product without weights: whether any layer of its module, or of what contains that, has."""
        if node.name in self.layers:
            return node.name in bits
        module = node.name.rpartition("/")[0]
        if module in self.layers:
            return module in bits
        while module and not any(name.startswith(f"{module}.") for name in self.layers):
            module = module.rpartition(".")[0]
        return any(name.startswith(f"{module}." if module else "") for name in bits)

    def _grids(self, graph: onnx.GraphProto) -> dict[str, LayerGrid]:
        """Of every layer that reads both its inputs from 8-bit values."""
        constants = {constant.name: constant for constant in graph.initializer}
        makers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        most = 64 if self.grid.seven_bit_weights else 127
        grids = {}
        for node in (node for node in graph.node if node.op_type in LAYERS and node.name in self.layers):
            x, weight = (makers.get(tensor) for tensor in node.input[:2])
            if x is not None and weight is not None:
                grids[node.name] = LayerGrid(_grid(weight, constants, (-most, most)), _grid(x, constants))
        return grids


def _grid(
    dequantize: onnx.NodeProto, constants: dict[str, onnx.TensorProto], ends: tuple[int, int] | None = None
) -> TensorGrid:
    scale, zero_point = (numpy_helper.to_array(constants[name]) for name in dequantize.input[1:3])
    low, high = ends or (np.iinfo(zero_point.dtype).min, np.iinfo(zero_point.dtype).max)
    return TensorGrid(8, int(low), int(high), scale.astype(np.float32), zero_point.astype(np.int32))


def _out_of_reach(graph: onnx.GraphProto, operators: Collection[str], kept: Collection[str]) -> set[str]:
    """Operators without weights that touch no quantized layer: in 8 bits they would only convert there and back."""
    nodes = [node for node in graph.node if node.op_type in operators and node.name not in kept]
    reached = {node.name for node in nodes if node.op_type in LAYERS}
    tensors: set[str] = set()
    while True:
        tensors.update(tensor for node in nodes if node.name in reached for tensor in (*node.input, *node.output))
        more = {node.name for node in nodes if not tensors.isdisjoint((*node.input, *node.output))}
        if more == reached:
            return {node.name for node in nodes} - reached
        reached = more


class _Once(CalibrationDataReader):  # type: ignore[misc]
    """Gives one batch, then nothing."""

    def __init__(self, x: Inputs) -> None:
        self._batches = iter([{"input": x}])

    def get_next(self) -> dict[str, Inputs] | None:
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
