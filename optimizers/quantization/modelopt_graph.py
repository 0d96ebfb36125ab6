"""ModelOpt at work on an ONNX graph, and what it wrote there. Imports onnx: import it inside functions only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from core.data import Inputs
from core.onnx_export import LAYERS
from optimizers.quantization.minifloat import e4m3
from optimizers.quantization.modelopt_alone import alone
from optimizers.quantization.quantizer import Bits, LayerGrid, Source, TensorGrid

if TYPE_CHECKING:
    from optimizers.quantization.modelopt_ import NumberFormat, Rest

TOP = {"int8": 127.0, "fp8": 448.0}
"""The largest number of the format: what the largest value seen is divided to."""

_SMALLEST_FP16_SCALE = 2.0**-20
"""Below it a half has so few digits left that a scale is badly rounded, or 0, and dividing by it not a number."""
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, eq=False)
class Rounding:
    """One graph that ModelOpt rounds again and again."""

    path: Path
    """The float graph, whose layers have the names of their modules."""
    source: Source
    number_format: NumberFormat
    method: str
    rest: Rest

    def observed(self, batches: list[Inputs], bits: Bits) -> dict[str, float]:
        """The scale of every rounded activation, by the name of its node, after looking at the batches."""
        graph = self._modelopt(batches, bits, rest="fp32").graph
        values = _initializers(graph)
        factor = self._correction(graph, values)
        nodes = (node for node in graph.node if node.op_type == _QUANTIZE and node.input[0] not in values)
        return {node.name: factor * float(_array(values, node.input[1])) for node in nodes}

    def rounded(
        self, batches: list[Inputs], bits: Bits, scales: Mapping[str, float]
    ) -> tuple[onnx.ModelProto, list[str]]:
        """The graph with the layers of `bits` rounded on these scales, and the nodes that have none among them."""
        model = self._modelopt(batches, bits, rest=self.rest)
        values, readers, missing = _initializers(model.graph), _readers(model.graph), []
        for node in (node for node in model.graph.node if node.op_type == _QUANTIZE):
            if node.input[0] in values:
                largest = _largest(node, values)
                scale = np.where(largest > 0, largest / TOP[self.number_format], 1.0)
            elif node.name in scales:
                scale = np.asarray(scales[node.name])
            else:
                missing.append(node.name)
                continue
            for each in (node, *readers[node.output[0]]):
                _write(values[each.input[1]], scale)
        with alone():
            from modelopt.onnx.quantization.qdq_utils import qdq_to_dq

            return qdq_to_dq(model), missing

    def grids(self, model: onnx.ModelProto, bits: Bits) -> dict[str, LayerGrid]:
        """How the layers of `bits` are rounded in the graph; one that ModelOpt left in float is missing."""
        values = _initializers(model.graph)
        makers = {name: node for node in model.graph.node for name in node.output}
        found = {}
        for node in (node for node in model.graph.node if node.op_type in LAYERS and node.name in bits):
            x, weight = (makers.get(name) for name in node.input[:2])
            if x is None or weight is None or {x.op_type, weight.op_type} != {_DEQUANTIZE}:
                continue
            found[node.name] = LayerGrid(
                weight=self._grid(_array(values, weight.input[1]), is_weight=True),
                input=self._grid(_array(values, x.input[1]), is_weight=False),
            )
        return {name: found[name] for name in self.source.layers if name in found}

    def _grid(self, scale: NDArray[Any], *, is_weight: bool) -> TensorGrid:
        if self.number_format == "fp8":
            return e4m3(scale)
        return TensorGrid(
            8, -127 if is_weight else -128, 127, scale.astype(np.float32), np.zeros(scale.shape, np.int32)
        )

    def _correction(self, graph: Any, values: Mapping[str, Any]) -> float:
        """What activations' scales have to be multiplied with, so that the largest value becomes the largest number.

        ModelOpt 0.47 makes FP8 scales of INT8 ones by 448 / 127 where 127 / 448 is right: the largest value becomes 36
        instead of 448, and small ones lose digits. A weight, whose largest value is known, tells any version's factor.
        """
        for node in graph.node:
            if node.op_type == _QUANTIZE and node.input[0] in values:
                largest, written = _largest(node, values), _array(values, node.input[1])
                channel = int(np.argmax(largest))
                return float(largest[channel] / TOP[self.number_format] / written[channel])
        return 1.0

    def _modelopt(self, batches: list[Inputs], bits: Bits, *, rest: Rest) -> onnx.ModelProto:
        """The graph with QuantizeLinear and DequantizeLinear in it, also around weights, which are floats still."""
        target = self.path.with_name("rounded.onnx")
        with alone():
            from modelopt.onnx.quantization import quantize

            quantize(
                str(self.path),
                quantize_mode=self.number_format,
                calibration_data_reader=_Reader(batches),
                calibration_method=self.method,
                calibration_eps=["cpu"],
                high_precision_dtype=rest,
                dq_only=False,
                output_path=str(target),
                log_level="ERROR",
                **self._places(bits),
            )
        return onnx.load(target)

    def _places(self, bits: Bits) -> dict[str, Any]:
        layers = [node.name for node in onnx.load(self.path).graph.node if node.op_type in LAYERS]
        wanted = [name for name in layers if self._is_wanted(name, bits)]
        if self.source.family == "transformer":
            return {"nodes_to_quantize": [_exactly(name) for name in wanted], "op_types_to_quantize": list(LAYERS)}
        return {"nodes_to_exclude": [_exactly(name) for name in layers if name not in wanted]}

    def _is_wanted(self, node: str, bits: Bits) -> bool:
        """Whether a layer is in `bits`, or a product without weights belongs to a module some layer of which is."""
        if node in self.source.layers:
            return node in bits
        module = node.rpartition("/")[0]
        return any(name.startswith(f"{module}.") for name in bits)


class _Reader:
    """Gives the batches to ModelOpt, which wants to see the first one apart."""

    def __init__(self, batches: list[Inputs]) -> None:
        self._batches = batches
        self.rewind()

    def rewind(self) -> None:
        self._rest = iter(self._batches)

    def get_first(self) -> dict[str, Inputs]:
        return {"input": self._batches[0]}

    def get_next(self) -> dict[str, Inputs] | None:
        x = next(self._rest, None)
        return None if x is None else {"input": x}


def _exactly(name: str) -> str:
    return f"{re.escape(name)}$"


def _initializers(graph: Any) -> dict[str, Any]:
    return {each.name: each for each in graph.initializer}


def _array(values: Mapping[str, Any], name: str) -> NDArray[Any]:
    return np.asarray(numpy_helper.to_array(values[name]))


def _readers(graph: Any) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _largest(node: NodeProto, values: Mapping[str, Any]) -> NDArray[np.float64]:
    """The largest absolute value of each channel of the weight that a node rounds."""
    weight = np.abs(_array(values, node.input[0]).astype(np.float64))
    axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
    return np.asarray(weight.max(tuple(dimension for dimension in range(weight.ndim) if dimension != axis)))


def _write(tensor: Any, scale: NDArray[Any]) -> None:
    dtype = numpy_helper.to_array(tensor).dtype
    if dtype == np.float16:
        scale = np.maximum(scale, _SMALLEST_FP16_SCALE)
    tensor.CopyFrom(numpy_helper.from_array(scale.astype(dtype).reshape(tuple(tensor.dims)), tensor.name))
