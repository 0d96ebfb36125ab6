"""Weights in 4 or 8 bits for TensorRT, multiplied as floats: rounded to nearest, each followed by a DequantizeLinear.

ModelOpt's own INT4 groups the outputs instead of the inputs where a layer was exported as Gemm, and takes a name also
for part of other names. Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper, version_converter

from core.bundle import OnnxGraph, Precision
from core.progress import Progress, Steps
from optimizers.quantization.quantizer import Bits, LayerGrid, Quantized, Source, TensorGrid, WeightGrid

LINEAR = ("MatMul", "Gemm")
_DEQUANTIZE = "DequantizeLinear"
_OPSET = 21
"""The first with INT4 and a scale for each block."""


def why_weights_refused(grid: WeightGrid, *, bits: int) -> str | None:
    """One sentence on why TensorRT cannot have such weights, or None."""
    if grid.dynamic:
        return "TensorRT rounds activations on grids that were calibrated, not anew at every inference"
    if not grid.symmetric:
        return "TensorRT requires zero points of 0"
    if bits == 4 and not grid.group_size:
        return "TensorRT takes INT4 in groups, not with one scale for a whole channel"
    return None


class TensorRtWeights:
    """Groups of a channel's inputs share a scale in 4 bits, whole channels in 8."""

    def __init__(self, grid: WeightGrid) -> None:
        self.grid = grid
        self.title = "round to nearest, ONNX DequantizeLinear"

    def observe(self, source: Source) -> Steps[TensorRtWeightsObserved]:
        """Nothing to look at: weights are known."""
        yield Progress(done=0, total=1, unit="networks", doing="exporting")
        graph = onnx.load_from_string(source.onnx())
        return TensorRtWeightsObserved(version_converter.convert_version(graph, _OPSET), source, self.grid)


class TensorRtWeightsObserved:
    """The float graph, whose weights are rounded as often as is asked."""

    def __init__(self, graph: onnx.ModelProto, source: Source, grid: WeightGrid) -> None:
        self._graph, self._source, self._grid = graph, source, grid

    def quantize(self, bits: Bits) -> Quantized:
        """The graph with the weights of these linear layers rounded, where groups of that size come out even."""
        model = onnx.ModelProto()
        model.CopyFrom(self._graph)
        weights = {each.name: each for each in model.graph.initializer}
        for node in [each for each in model.graph.node if each.op_type in LINEAR and each.name in bits]:
            weight = weights.get(node.input[1])
            if weight is not None:
                self._round(model.graph, node, weight, bits[node.name])
        _remove_unread(model.graph)
        grids = _grids(model.graph)
        grids = {name: grids[name] for name in self._source.layers if name in grids}
        precision: Precision = "w4" if any(grid.weight.bits == 4 for grid in grids.values()) else "w8"
        return Quantized(OnnxGraph(model.SerializeToString()), precision, grids)

    def _round(self, graph: Any, node: NodeProto, constant: Any, bits: int) -> None:
        """Put the rounded weight and its DequantizeLinear between the constant and the node."""
        weight, axis = numpy_helper.to_array(constant), _input_axis(node)
        inputs = weight.shape[axis]
        size = min(self._grid.group_size, inputs) if bits == 4 else inputs
        if not size or inputs % size:
            return
        integers, scale = rounded_groups(np.moveaxis(weight, axis, -1), bits, size)
        integers = np.moveaxis(integers, -1, axis)
        if bits == 4:
            attributes = {"axis": axis, "block_size": size}
            stored, scales = integers.astype(ml_dtypes.int4), np.moveaxis(scale, -1, axis)
        else:
            attributes, stored, scales = {"axis": 1 - axis}, integers, scale[:, 0]
        names = [f"{node.name}.{part}" for part in ("weight_integers", "weight_scale", "weight_rounded")]
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for value, name in zip((stored, scales), names, strict=False)
        )
        made = helper.make_node(_DEQUANTIZE, names[:2], names[2:], f"{node.name}.dequantize", **attributes)
        graph.node.insert(list(graph.node).index(node), made)
        node.input[1] = names[2]


def rounded_groups(weight: NDArray[np.float32], bits: int, size: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers[O, I] of a weight[O, I], and scales[O, I / size] that make a group's largest weight the largest one."""
    top = 2 ** (bits - 1) - 1
    groups = weight.reshape(len(weight), -1, size)
    largest = np.abs(groups).max(-1)
    scale = np.where(largest > 0, largest / top, 1).astype(np.float32)
    integers = np.clip(np.rint(groups / scale[..., None]), -top, top)
    return integers.reshape(weight.shape).astype(np.int8), scale


def _input_axis(node: NodeProto) -> int:
    """The dimension of a layer's weight along which its inputs lie."""
    return next((each.i for each in node.attribute if each.name == "transB"), 0)


def _grids(graph: Any) -> dict[str, LayerGrid]:
    """Read back from the graph: every linear layer whose weight comes out of a DequantizeLinear."""
    values = {each.name: each for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in (each for each in graph.node if each.op_type in LINEAR):
        maker = makers.get(node.input[1])
        if maker is None or maker.op_type != _DEQUANTIZE:
            continue
        bits = 4 if values[maker.input[0]].data_type == onnx.TensorProto.INT4 else 8
        scale = np.array(numpy_helper.to_array(values[maker.input[1]]))
        if bits == 4:
            scale = np.moveaxis(scale, _input_axis(node), -1)
        top = 2 ** (bits - 1) - 1
        found[node.name] = LayerGrid(TensorGrid(bits, -top, top, scale, np.zeros(scale.shape, np.int32)), None)
    return found


def _remove_unread(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input}
    for each in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(each)
