"""OpenVINO's graphs, by the names of the layers in them. Imports openvino: import it inside functions only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import passes

from core.bundle import OpenVinoModel
from optimizers.quantization.quantizer import TensorGrid

Operation = Any
"""An `openvino.Node`."""

_PRODUCTS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
_BEFORE_BIAS = "/WithoutBiases"
_UNPACKING = frozenset({"Convert", "Subtract", "Multiply", "Reshape"})
_MOVING = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool", "Concat", "Split", "VariadicSplit", "StridedSlice"}
    | {"Slice", "Gather", "Pad"}
)
"""What leaves every value on the grid that it is on."""
_SEVEN_BITS = 64
_BITS = {"i8": 8, "u8": 8, "i4": 4, "u4": 4}


def graph_of(onnx: bytes) -> Any:
    """An `openvino.Model` of a serialised ONNX graph, with everything computed that depends on no input."""
    model = openvino.Core().read_model(onnx, b"")
    folding = passes.Manager()
    folding.register_pass(passes.ConstantFolding())
    folding.run_passes(model)
    return model


def written(model: Any) -> OpenVinoModel:
    """The contents of the two files that the model makes; weights keep the types they have."""
    with tempfile.TemporaryDirectory() as folder:
        xml, weights = Path(folder, "model.xml"), Path(folder, "model.bin")
        openvino.serialize(model, xml, weights)
        return OpenVinoModel(xml.read_bytes(), weights.read_bytes())


def share_ends(model: Any) -> None:
    """Let every FakeQuantize take the ends of what comes in and goes out, which are equal, from one constant."""
    for operation in model.get_ops():
        if operation.get_type_name() == "FakeQuantize":
            for port in (1, 2):
                operation.input(port + 2).replace_source_output(operation.input_value(port))


def products(model: Any) -> dict[str, Operation]:
    """Convolutions and matrix products by the name of their layer, in the order of execution."""
    operations = (each for each in model.get_ordered_ops() if each.get_type_name() in _PRODUCTS)
    # The reader splits a layer with a bias in two, and the addition has the layer's name.
    return {each.get_friendly_name().removesuffix(_BEFORE_BIAS): each for each in operations}


def makers(operation: Operation) -> list[Operation]:
    """The operations that an operation's inputs come from."""
    return [value.get_node() for value in operation.input_values()]


def input_grid(product: Operation) -> TensorGrid | None:
    """The grid of what comes into a product, from the FakeQuantize before it; None where there is none."""
    node = makers(product)[0]
    while node.get_type_name() in _MOVING:
        node = makers(node)[0]
    if node.get_type_name() != "FakeQuantize":
        return None
    levels = node.get_attributes()["levels"]
    low, high = (float(each.get_data()) for each in makers(node)[1:3])
    scale = (high - low) / (levels - 1)
    zero_point = round(-low / scale)
    # With as many steps below zero as signed integers have, zero is the integer 0 and not 128.
    signed = levels // 2 if zero_point == levels // 2 else 0
    return TensorGrid(
        bits=8,
        low=-signed,
        high=levels - 1 - signed,
        scale=np.array(scale, np.float32),
        zero_point=np.array(zero_point - signed, np.int32),
    )


def weight_grid(product: Operation) -> TensorGrid | None:
    """The grid of a product's weights, stored as integers; None where they are floats or computed.

    Zero points are 0 where none are stored.
    """
    *unpacking, constant = _stored(makers(product)[1])
    steps = {each.get_type_name(): each for each in unpacking}
    kind = constant.get_element_type().get_type_name()
    if constant.get_type_name() != "Constant" or kind not in _BITS or "Multiply" not in steps:
        return None
    scale = _values(makers(steps["Multiply"])[1])
    zero_point = _values(makers(steps["Subtract"])[1]) if "Subtract" in steps else 0
    low, high = _ends(constant, kind)
    return TensorGrid(
        bits=_BITS[kind],
        low=low,
        high=high,
        scale=_by_channel(scale, product).astype(np.float32),
        zero_point=_by_channel(np.broadcast_to(zero_point, scale.shape), product).astype(np.int32),
    )


def _stored(node: Operation) -> list[Operation]:
    """The operations that make weights of what is stored, from the last to the constant itself."""
    path = [node]
    while path[-1].get_type_name() in _UNPACKING:
        path.append(makers(path[-1])[0])
    return path


def _ends(constant: Operation, kind: str) -> tuple[int, int]:
    """The smallest and the largest integer of the grid.

    NNCF's grids with zero point 0 reach as far below zero as above, or down to the lowest integer of all: then some
    weight always has it.
    """
    largest = 2 ** (_BITS[kind] - 1) - 1
    if kind.startswith("u"):
        return 0, 2 * largest + 1
    if kind != "i8" or (integers := constant.get_data()).min() < -largest:
        return -largest - 1, largest
    reached = _SEVEN_BITS if np.abs(integers).max() <= _SEVEN_BITS else largest
    return -reached, reached


def _values(node: Operation) -> NDArray[Any]:
    while node.get_type_name() == "Convert":
        node = makers(node)[0]
    values: NDArray[Any] = node.get_data(dtype=np.float32)
    return values


def _by_channel(values: NDArray[Any], product: Operation) -> NDArray[Any]:
    """[] for the tensor, [O] for output channels, [O, G] for groups, which are stored as [O, G, 1] or [G, 1, O]."""
    if values.size == 1:
        return values.reshape(())
    if product.get_type_name() != "MatMul" or values.ndim < 3:
        return values.reshape(-1)
    return values[:, :, 0] if product.get_attributes()["transpose_b"] else values[:, 0, :].T
