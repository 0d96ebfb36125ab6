from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from experiments.onnx_graph import FILE, OnnxGraphView, read_view, view_of
from tests.experiments.profiled import layer, layer_profile, other


def small_model() -> onnx.ModelProto:
    """Two INT8 weights behind a DequantizeLinear, a shape as a constant, an addition that ends a block."""
    arrays = {
        "block.conv.weight_quantized": np.ones((4, 3, 3, 3), np.int8),
        "scale": np.float32(0.5),
        "zero": np.int8(0),
        "block.conv.bias": np.zeros(4, np.float32),
        "to": np.array([0, -1], np.int64),
        "head.weight": np.ones((5, 4 * 36), np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["block.conv.weight_quantized", "scale", "zero"], ["weight"], "dq"),
        helper.make_node(
            "Conv", ["input", "weight", "block.conv.bias"], ["a"], "conv", kernel_shape=[3, 3], strides=[2, 2],
            pads=[1, 1, 1, 1], dilations=[1, 1], group=1,
        ),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Add", ["a", "b"], ["c"], "add"),
        helper.make_node("Reshape", ["c", "to"], ["d"], "reshape"),
        helper.make_node("Gemm", ["d", "head.weight"], ["logits"], "gemm", transB=1),
    ]  # fmt: skip
    values = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 12, 12]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5]),
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]
    nodes = [*nodes[1:], nodes[0]]  # quantizers put what they add behind everything else
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def view() -> OnnxGraphView:
    """Of a profile in which the addition was merged into the convolution, and a conversion was added."""
    layers = [layer("block.conv", 2, precision="int8"), other("reorder", 1, "Reorder"), layer("head", 1)]
    return view_of(small_model(), layer_profile(layers, batch_size=2))


def test_a_graph_is_its_operators_with_shapes_weights_and_attributes(view: OnnxGraphView) -> None:
    assert [node.op for node in view.nodes] == ["Conv", "Relu", "Add", "Reshape", "Gemm"]
    assert view.input_shape == (2, 3, 12, 12)
    assert [node.shapes for node in view.nodes] == [((2, 4, 6, 6),)] * 3 + [((2, 144),), ((2, 5),)]
    assert (view.nodes[0].weight_shape, view.nodes[0].weight_bytes) == ((4, 3, 3, 3), 4 * 27 + 4 * 4)
    assert view.nodes[0].attributes == {"kernel": "3 × 3", "stride": "2 × 2", "padding": "1 × 1"}
    assert (view.nodes[3].weight_shape, view.nodes[3].weight_bytes) == (None, 0)


def test_arrows_follow_what_flows(view: OnnxGraphView) -> None:
    assert list(view.edges) == [(-1, 0), (0, 1), (0, 2), (1, 2), (2, 3), (3, 4)]


def test_operators_without_notes_belong_to_the_block_before_them(view: OnnxGraphView) -> None:
    assert [node.module for node in view.nodes] == ["block.conv", "block", "block", "block", "head"]


def test_layers_that_are_no_operator_are_told(view: OnnxGraphView) -> None:
    layers = [layer("block.conv", 2), other("reorder", 1, "Reorder"), layer("head", 1)]
    assert [node.layers for node in view.nodes] == [(0,), (), (), (), (2,)]
    assert [each.name for each in view.unplaced(layers)] == ["reorder"]


def test_a_graph_is_read_again_as_written(view: OnnxGraphView, tmp_path: Path) -> None:
    assert read_view(tmp_path) is None
    (tmp_path / FILE).write_text(view.model_dump_json())
    assert read_view(tmp_path) == view
    (tmp_path / FILE).write_text("{")
    assert read_view(tmp_path) is None
