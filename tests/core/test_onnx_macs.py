"""What a graph computes and holds, against counting by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.onnx_macs import macs_of_graph, parameters_of_graph, precision_of_graph
from tests.experiments.own import SIDE, small_graph

SHAPE = (3, SIDE, SIDE)
HALF = SIDE // 2
BY_HAND = HALF**2 * (8 * 3 * 9 + 8 * 9 + 16 * 8) + 16 * 4
"""Of `small_graph`: each output of a convolution takes kernel times inputs of its group, each class 16 channels."""


def graph_of(nodes: list[onnx.NodeProto], *constants: TensorProto, shape: tuple[int, ...] = (2, 6)) -> bytes:
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [answer], list(constants))
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return content


def weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def test_convolutions_and_products_are_counted_as_by_hand() -> None:
    assert macs_of_graph(small_graph(), SHAPE) == BY_HAND


def test_a_quantized_graph_takes_as_many() -> None:
    assert macs_of_graph(small_graph(precision="int8"), SHAPE) == BY_HAND


@pytest.mark.parametrize(
    ("node", "constant", "expected"),
    [
        (helper.make_node("MatMul", ["input", "w"], ["logits"]), weight("w", 6, 5), 2 * 6 * 5),
        (helper.make_node("Einsum", ["input", "w"], ["logits"], equation="nab,bc->nac"), weight("w", 6, 5), 2 * 6 * 5),
        (helper.make_node("ConvTranspose", ["input", "w"], ["logits"], strides=[2]), weight("w", 2, 4, 3), 6 * 24),
    ],
)  # fmt: skip
def test_other_products(node: onnx.NodeProto, constant: TensorProto, expected: int) -> None:
    assert macs_of_graph(graph_of([node], constant), (2, 6)) == expected


def test_shapes_that_inference_cannot_tell_are_looked_up() -> None:
    """The shape goes through floats, which no inference follows."""
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Floor", ["floats"], ["floored"]),
        helper.make_node("Cast", ["floored"], ["again"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["input", "again"], ["same"]),
        helper.make_node("MatMul", ["same", "w"], ["logits"]),
    ]
    assert macs_of_graph(graph_of(nodes, weight("w", 6, 5)), (2, 6)) == 2 * 6 * 5


def test_parameters_are_what_is_learned() -> None:
    """Statistics of BatchNorm are not, as torch has it: 8 of `norm.mean` and `norm.var` each are left out."""
    expected = 8 * 27 + 8 + 8 + 8 + 8 * 9 + 16 * 8 + 4 * 16 + 4
    assert parameters_of_graph(small_graph()) == (expected, expected)


def test_of_quantized_weights_the_integers_count_and_no_scales() -> None:
    count, nonzero = parameters_of_graph(small_graph(precision="int8"))
    assert count == parameters_of_graph(small_graph())[0]
    assert count - 20 < nonzero <= count  # few weights are below half a step


def test_what_it_computes_in_is_read_from_its_operators() -> None:
    assert precision_of_graph(small_graph()) == "fp32"
    assert precision_of_graph(small_graph(precision="int8")) == "int8"
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    for kind, expected in ((TensorProto.INT8, "w8"), (TensorProto.INT4, "w4")):
        stored = helper.make_tensor("stored", kind, (6, 5), [1] * 30)
        nodes = [
            helper.make_node("DequantizeLinear", ["stored", "scale"], ["w"]),
            helper.make_node("MatMul", ["input", "w"], ["logits"]),
        ]
        assert precision_of_graph(graph_of(nodes, stored, scale)) == expected


def test_zeros_and_constants_that_are_not_weights() -> None:
    w = np.ones((6, 5), np.float32)
    w[0] = 0
    nodes = [
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.array(0.5, np.float32))),
        helper.make_node("Mul", ["input", "half"], ["scaled"]),
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
        helper.make_node("MatMul", ["scaled", "w"], ["logits"]),
    ]
    assert parameters_of_graph(graph_of(nodes)) == (30, 25)
