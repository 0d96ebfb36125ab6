"""What an ONNX graph holds and computes. Imports onnx inside functions; no torch anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from core.bundle import Precision

if TYPE_CHECKING:
    import onnx

_ROUNDING = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
)
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_SMALL = 1024
"""Elements of a constant that may decide a shape; larger ones are weights, of which inference needs the form only."""
_WEIGHT = {"Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Which input of a convolution holds its weights."""
_PRODUCTS = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul"})
_STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that are observed rather than learned, which torch does not count as parameters either."""
_INTEGERS = {"DequantizeLinear": (0,), "ConvInteger": (1,), "MatMulInteger": (1,), "QLinearConv": (3, 8),
             "QLinearMatMul": (3,)}  # fmt: skip
"""Inputs that are learned although they are integers."""
_GRID = {"QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "QLinearConv": (1, 2, 4, 5, 6, 7),
         "QLinearMatMul": (1, 2, 4, 5, 6, 7)}  # fmt: skip
"""Inputs that are scales and zero points."""


def macs_of_graph(content: bytes, shape: Shape) -> int:
    """Multiply-accumulates of one image of `shape` (C, H, W) in convolutions and matrix products.

    Shapes follow from onnx's inference; those that it cannot tell are looked up by running the graph once in ONNX
    Runtime. What lies in the branches of an If is not counted.
    """
    model = _parsed(content)
    nodes = [node for node in model.graph.node if _factors(node) is not None]
    shapes = _inferred(model, (1, *shape))
    unknown = {name for node in nodes for name in _read(node) if name not in shapes}
    if unknown:
        shapes = {**shapes, **_looked_up(content, (1, *shape), unknown)}
    return sum(_macs(node, shapes) for node in nodes)


def parameters_of_graph(content: bytes) -> tuple[int, int]:
    """What is learned in the graph, and how much of it is not zero; of quantized weights their integers count.

    Left out are scales and zero points, BatchNorm's statistics, single numbers, and whatever decides shapes.
    """
    from onnx import numpy_helper

    model = _parsed(content)
    left_out, integers = _inputs(model.graph, _STATISTICS | _GRID), _inputs(model.graph, _INTEGERS)
    count = nonzero = 0
    for name, tensor in constants_of(model.graph).items():
        is_float = tensor.data_type in _floats()
        if name in left_out or not tensor.dims or not (is_float or name in integers):
            continue
        count += math.prod(tensor.dims)
        nonzero += int(np.count_nonzero(numpy_helper.to_array(tensor)))
    return count, nonzero


def precision_of_graph(content: bytes) -> Precision:
    """What a graph computes in as it is: `int8` where activations are rounded to integers, else what weights are in.

    A graph in float16 counts as `fp32`: processors without halves compute it in float32.
    """
    from onnx import TensorProto

    graph = _parsed(content).graph
    operators = {node.op_type for node in graph.node}
    if operators & _ROUNDING:
        return "int8"
    constants = constants_of(graph)
    stored = {constants[name].data_type for name in _inputs(graph, {"DequantizeLinear": (0,)}) if name in constants}
    if stored & {TensorProto.INT4, TensorProto.UINT4}:
        return "w4"
    return "w8" if stored else "fp32"


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Every constant tensor by name, whether it is an initializer or the value of a Constant node."""
    found = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], each.t) for each in node.attribute if each.name == "value")
    return found


def _parsed(content: bytes) -> onnx.ModelProto:
    import onnx

    return onnx.load_from_string(content)


def _floats() -> frozenset[int]:
    from onnx import TensorProto

    return frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})


def _inputs(graph: onnx.GraphProto, places: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Names of the tensors that nodes read at these places."""
    return {
        node.input[place] for node in graph.node for place in places.get(node.op_type, ()) if place < len(node.input)
    }


def _inferred(model: onnx.ModelProto, shape: Shape) -> dict[str, Shape]:
    """The shape of every tensor that inference knows for an input of that shape; weights are passed by form only."""
    import onnx
    from onnx import helper, shape_inference

    weights = {each.name: (each.data_type, tuple(each.dims)) for each in model.graph.initializer}
    light = onnx.ModelProto()
    light.CopyFrom(model)
    del light.graph.initializer[:]
    light.graph.initializer.extend(each for each in model.graph.initializer if math.prod(each.dims) <= _SMALL)
    kept = {each.name for each in light.graph.initializer}
    given = next(each.name for each in light.graph.input if each.name not in weights)
    del light.graph.input[:], light.graph.value_info[:]
    light.graph.input.append(helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shape))
    for name, (kind, dims) in weights.items():
        if name not in kept:
            light.graph.input.append(helper.make_tensor_value_info(name, kind, dims))
    try:
        light = shape_inference.infer_shapes(light, data_prop=True)
    except shape_inference.InferenceError:  # then all is looked up
        return {name: dims for name, (_, dims) in weights.items()}
    known = {each.name: _dims(each) for each in (*light.graph.value_info, *light.graph.input, *light.graph.output)}
    known |= {name: tuple(tensor.dims) for name, tensor in constants_of(model.graph).items()}
    return {name: dims for name, dims in known.items() if dims is not None}


def _dims(info: onnx.ValueInfoProto) -> Shape | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape") or any(not each.HasField("dim_value") for each in kind.shape.dim):
        return None
    return tuple(each.dim_value for each in kind.shape.dim)


def _looked_up(content: bytes, shape: Shape, names: set[str]) -> dict[str, Shape]:
    """The shapes of these tensors as they turn out when zeros of that shape pass."""
    import onnx
    import onnxruntime

    model = _parsed(content)
    wanted = sorted(names)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found = session.run(wanted, {session.get_inputs()[0].name: np.zeros(shape, np.float32)})
    return {name: tuple(each.shape) for name, each in zip(wanted, found, strict=True)}


def _factors(node: onnx.NodeProto) -> tuple[str, ...] | None:
    """The inputs that are multiplied with each other; None for a node that multiplies none."""
    if node.op_type in _WEIGHT:
        return (node.input[0], node.input[_WEIGHT[node.op_type]])
    if node.op_type in _PRODUCTS or node.op_type == "Gemm":
        return (node.input[0], node.input[3 if node.op_type.startswith("QLinear") else 1])
    if node.op_type == "MatMulNBits":
        return (node.input[0],)
    return tuple(node.input) if node.op_type == "Einsum" else None


def _read(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors whose shapes tell how much the node multiplies."""
    return (*(_factors(node) or ()), node.output[0])


def _macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    first, *others = (shapes[name] for name in _factors(node) or ())
    given = math.prod(shapes[node.output[0]])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(others[0][1:])
    if node.op_type in _WEIGHT:
        return given * math.prod(others[0][1:])
    if node.op_type == "Gemm":
        return given * first[0 if _attribute(node, "transA") else 1]
    if node.op_type == "Einsum":
        return _einsum(str(_attribute(node, "equation"), "utf-8"), [first, *others])
    return given * first[-1]


def _einsum(equation: str, shapes: list[Shape]) -> int:
    """The product of the sizes of all letters; 0 where there is one factor only, or an ellipsis."""
    letters = equation.replace(" ", "").partition("->")[0].split(",")
    if len(letters) < 2 or "." in equation:
        return 0
    return math.prod({each: size for part, dims in zip(letters, shapes, strict=True)
                      for each, size in zip(part, dims, strict=True)}.values())  # fmt: skip


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), 0)
