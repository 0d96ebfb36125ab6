"""Linear layers with weights in 8 or 4 bits for ONNX Runtime. Imports onnx inside functions.

Two of its operators keep weights in few bits. `MatMulNBits` (https://github.com/microsoft/onnxruntime/blob/main/docs/
ContribOperators.md#com.microsoft.MatMulNBits) has a scale for each block of a channel's inputs and multiplies floats
or, with `accuracy_level` 4, rounds each block of what comes in to INT8. `MatMulInteger` behind `DynamicQuantizeLinear`
has one scale for a channel and one, chosen anew, for all that comes in; ONNX Runtime fuses the two, and its kernel is
the faster one for many rows. So whole channels in dynamic INT8 go there, everything else to `MatMulNBits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.bundle import OnnxGraph, Precision
from core.progress import Progress, Steps
from optimizers.quantization.quantizer import Bits, LayerGrid, Observed, Quantized, Source, TensorGrid, WeightGrid

if TYPE_CHECKING:
    import onnx

Matrix = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_SMALLEST_BLOCK = 16
_SCALE_BYTES = 4
_INT8_ACTIVATIONS = 4
_MICROSOFT = "com.microsoft"


def why_refused(grid: WeightGrid) -> str | None:
    """One sentence on why ONNX Runtime cannot have such groups, or None."""
    size = grid.group_size
    if size == 0 or (size >= _SMALLEST_BLOCK and size & (size - 1) == 0):
        return None
    return f"ONNX Runtime's groups are powers of two from {_SMALLEST_BLOCK} on, not {size}"


@dataclass(frozen=True)
class OrtWeights:
    """Weights of linear layers in 8 or 4 bits; everything else, convolutions too, stays as it is."""

    grid: WeightGrid

    @property
    def title(self) -> str:
        """The library and the operators that hold the weights."""
        if self.grid.dynamic and not self.grid.group_size:
            return "ONNX Runtime MatMulInteger"
        return "ONNX Runtime MatMulNBits"

    def observe(self, source: Source) -> Steps[Observed]:
        """The exported network: weights need no calibration images."""
        yield Progress(done=0, total=1, unit="networks", doing="exporting")
        graph = source.onnx()
        yield Progress(done=1, total=1, unit="networks", doing="exporting")
        return _Exported(graph, self.grid)


@dataclass(frozen=True, eq=False)
class _Exported:
    graph: bytes
    grid: WeightGrid

    def quantize(self, bits: Bits) -> Quantized:
        """The graph with the linear layers of `bits` in 8 or 4 bits."""
        import onnx

        model = onnx.load_from_string(self.graph)
        constants = {constant.name: constant for constant in model.graph.initializer}
        nodes, packed = [], []
        for node in model.graph.node:
            weight = _weight(node, constants) if node.name in bits else None
            if weight is None:
                nodes.append(node)
                continue
            made, tensors = _in_few_bits(node, weight, bits[node.name], self.grid)
            nodes += made
            packed += tensors
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(packed)
        _drop_unused(model.graph)
        model.opset_import.append(onnx.helper.make_opsetid(_MICROSOFT, 1))
        grids = dict(_grids(model.graph))
        return Quantized(OnnxGraph(model.SerializeToString()), _precision(grids, self.grid), grids)


def _precision(grids: Mapping[str, LayerGrid], grid: WeightGrid) -> Precision:
    if any(each.weight.bits == 4 for each in grids.values()):
        return "w4"
    return "int8" if grid.dynamic else "w8"


def _weight(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> Matrix | None:
    """[inputs, outputs] of a linear layer; None for everything else."""
    from onnx import helper, numpy_helper

    constant = constants.get(node.input[1]) if len(node.input) > 1 else None
    if node.op_type not in ("MatMul", "Gemm") or constant is None or len(constant.dims) != 2:
        return None
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1:
        return None
    weight: Matrix = numpy_helper.to_array(constant)
    return weight.T if attributes.get("transB", 0) else weight


Made = tuple[list[Any], list[Any]]
"""Nodes, and the constants that they read."""


def _in_few_bits(node: onnx.NodeProto, weight: Matrix, bits: int, grid: WeightGrid) -> Made:
    """What computes the same as the layer's node from packed weights."""
    from onnx import helper

    bias = [name for name in node.input[2:] if name]
    product = f"{node.name}.product" if bias else node.output[0]
    integer = grid.dynamic and bits == 8 and not grid.group_size
    nodes, tensors = (_integer_product if integer else _block_product)(node, weight, bits, grid, product)
    if bias:
        nodes.append(helper.make_node("Add", [product, *bias], node.output, f"{node.name}.add"))
    return nodes, tensors


def _block_product(node: onnx.NodeProto, weight: Matrix, bits: int, grid: WeightGrid, product: str) -> Made:
    from onnx import helper

    inputs, outputs = weight.shape
    block = _block_size(inputs, bits, grid.group_size)
    packed = pack(weight.T, bits, block, symmetric=grid.symmetric, whole_channels=not grid.group_size)
    tensors = _constants(node.name, packed=packed.integers, scale=packed.scale, zero_point=packed.zero_point)
    level: dict[str, Any] = {"accuracy_level": _INT8_ACTIVATIONS} if grid.dynamic else {}
    made = helper.make_node(
        "MatMulNBits",
        [node.input[0], *(tensor.name for tensor in tensors)],
        [product],
        node.name,
        domain=_MICROSOFT,
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=block,
        **level,
    )
    return [made], tensors


def _integer_product(node: onnx.NodeProto, weight: Matrix, _bits: int, grid: WeightGrid, product: str) -> Made:
    """The nodes that ONNX Runtime fuses into one `DynamicQuantizeMatMul`."""
    from onnx import TensorProto, helper

    scale, zero_point = _whole_channels(weight, symmetric=grid.symmetric)
    integers = np.clip(np.rint(weight / scale) + zero_point, -128, 127).astype(np.int8)
    tensors = _constants(node.name, packed=integers, scale=scale, zero_point=zero_point)
    packed, scales, zero_points = (tensor.name for tensor in tensors)
    x, whole = [f"{node.name}.{part}" for part in ("x", "x_scale", "x_zero_point")], f"{node.name}.whole"
    nodes = [
        helper.make_node("DynamicQuantizeLinear", [node.input[0]], x, f"{node.name}.quantize"),
        helper.make_node("MatMulInteger", [x[0], packed, x[2], zero_points], [f"{whole}_i"], node.name),
        helper.make_node("Cast", [f"{whole}_i"], [whole], f"{node.name}.cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [x[1], scales], [f"{whole}_scale"], f"{node.name}.scales"),
        helper.make_node("Mul", [whole, f"{whole}_scale"], [product], f"{node.name}.scaled"),
    ]
    return nodes, tensors


def _constants(layer: str, **values: NDArray[Any] | None) -> list[onnx.TensorProto]:
    from onnx import numpy_helper

    return [
        numpy_helper.from_array(np.ascontiguousarray(value), f"{layer}.{part}")
        for part, value in values.items()
        if value is not None
    ]


def _block_size(inputs: int, bits: int, group_size: int) -> int:
    """Inputs in a block: no more than hold all inputs; for a whole channel what takes the fewest bytes.

    The last block is filled up, so that few small blocks, each repeating the channel's scale, can be less than a large
    one: 96 inputs are 3 times 32.
    """
    powers: list[int] = [2**power for power in range(4, max(5, (inputs - 1).bit_length() + 1))]
    if group_size:
        return min(group_size, powers[-1])
    return min(powers, key=lambda block: -(-inputs // block) * (block * bits // 8 + _SCALE_BYTES))


def _whole_channels(weight: Matrix, *, symmetric: bool) -> tuple[Matrix, NDArray[np.int8]]:
    """Scale and zero point [outputs] of signed 8-bit integers that reach each channel's ends."""
    if symmetric:
        scale = _never_zero(np.abs(weight).max(0) / 127)
        return scale, np.zeros(len(scale), np.int8)
    low, high = np.minimum(weight.min(0), 0), np.maximum(weight.max(0), 0)
    scale = _never_zero((high - low) / 255)
    return scale, np.rint(-128 - low / scale).astype(np.int8)


def _never_zero(scale: Matrix) -> Matrix:
    return np.where(scale == 0, 1, scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Packed:
    """A weight matrix in the layout of `MatMulNBits`."""

    integers: Bytes
    """[outputs, blocks, bytes of a block]; in 4 bits the earlier input in the lower half."""
    scale: Matrix
    """[outputs, blocks]."""
    zero_point: Bytes | None
    """[outputs, bytes of a row]; None for the middle of the integers."""


def pack(weight: Matrix, bits: int, block: int, *, symmetric: bool, whole_channels: bool = False) -> Packed:
    """A matrix [outputs, inputs] in unsigned integers, with a scale for each block of inputs or for a whole channel.

    ONNX Runtime's own packer does the same for blocks of up to 256. Symmetric blocks have the sign of the scale that
    puts the largest value on the longer side of zero.
    """
    outputs, inputs = weight.shape
    blocks, half = -(-inputs // block), 2 ** (bits - 1)
    padded = np.pad(weight, ((0, 0), (0, blocks * block - inputs))).reshape(outputs, blocks, block)
    shared = (1, 2) if whole_channels else (2,)
    low, high = np.minimum(padded.min(shared, keepdims=True), 0), np.maximum(padded.max(shared, keepdims=True), 0)
    if symmetric:
        scale = _never_zero(np.where(high > -low, high, low) / -half)
        zero_point = np.full(scale.shape, half, np.uint8)
    else:
        scale = _never_zero((high - low) / (2 * half - 1))
        zero_point = np.rint(-low / scale).astype(np.uint8)
    integers = np.clip(np.rint(padded / scale) + zero_point, 0, 2 * half - 1).astype(np.uint8)
    scales: Matrix = np.broadcast_to(scale[..., 0], (outputs, blocks))
    zero_points: Bytes = np.broadcast_to(zero_point[..., 0], (outputs, blocks))
    return Packed(_bytes(integers, bits), scales, None if symmetric else _bytes(zero_points, bits))


def _bytes(integers: Bytes, bits: int) -> Bytes:
    """Two 4-bit integers to a byte along the last dimension."""
    if bits == 8:
        return integers
    even: Bytes = np.pad(integers, (*[(0, 0)] * (integers.ndim - 1), (0, integers.shape[-1] % 2)))
    pairs: Bytes = even[..., ::2] | (even[..., 1::2] << np.uint8(4))
    return pairs


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {tensor for node in graph.node for tensor in node.input} | {output.name for output in graph.output}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _grids(graph: onnx.GraphProto) -> Iterator[tuple[str, LayerGrid]]:
    from onnx import helper, numpy_helper

    constants = {constant.name: constant for constant in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            scale, zero_point = (
                numpy_helper.to_array(constants[f"{node.name}.{part}"]) for part in ("scale", "zero_point")
            )
            lowest = -127 if not zero_point.any() else -128
            yield node.name, LayerGrid(TensorGrid(8, lowest, 127, scale.copy(), zero_point.astype(np.int32)), None)
        elif node.op_type == "MatMulNBits":
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            values = [numpy_helper.to_array(constants[name]) for name in node.input[2:]]
            yield node.name, LayerGrid(_block_grid(attributes["bits"], *values), None)


def _block_grid(bits: int, scale: Matrix, zero_point: Bytes | None = None) -> TensorGrid:
    """The blocks' grids with positive scales: the same values are reached with the integers in reverse order."""
    most = 2**bits - 1
    if zero_point is None:
        zeros = np.full(scale.shape, 2 ** (bits - 1), np.int32)
    else:
        halves = zero_point if bits == 8 else np.stack([zero_point & 15, zero_point >> 4], -1)
        zeros = halves.reshape(len(scale), -1)[:, : scale.shape[1]].astype(np.int32)
    zeros = np.where(scale < 0, most - zeros, zeros)
    if (scale == scale[:, :1]).all() and (zeros == zeros[:, :1]).all():
        scale, zeros = scale[:, 0], zeros[:, 0]
    return TensorGrid(bits, 0, most, np.abs(scale), zeros)
