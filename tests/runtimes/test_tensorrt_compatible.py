"""What the real parser says of graphs whose faults are known from the ONNX and TensorRT documentation."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.bundle import ModelBundle
from core.errors import RunFailed
from runtimes.onnx_file import onnx_bytes
from runtimes.tensorrt_compatible import compatibility

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="asking the parser without a GPU needs tensorrt_rtx"
)
node = helper.make_node
CONSTANTS = {
    "weight": np.ones((4, 3, 3, 3), np.float32),
    "half": np.ones((4, 3, 3, 3), np.float16),
    "scale": np.float32(0.1),
    "zero": np.int8(0),
    "three": np.int8(3),
    "middle": np.uint8(128),
    "integers": np.arange(4, dtype=np.int32),
    "scales": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.int32),
}


def graph(nodes: Sequence[onnx.NodeProto]) -> bytes:
    """A graph from `input`[batch, 3, 8, 8] to `logits`, with the constants that it reads."""
    read = {name for each in nodes for name in each.input}
    made = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items() if name in read],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    content: bytes = helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


def rounded(zero_point: str) -> list[onnx.NodeProto]:
    return [
        node("QuantizeLinear", ["input", "scale", zero_point], ["q"], "round"),
        node("DequantizeLinear", ["q", "scale", zero_point], ["back"], "unround"),
        node("Conv", ["back", "weight"], ["logits"], "conv"),
    ]


def test_a_network_it_takes_is_counted_by_operator(bundle: ModelBundle) -> None:
    content = onnx_bytes(bundle, "fp32")
    found = compatibility(content)
    assert found.is_whole
    assert found.parser.startswith("tensorrt_rtx ")
    nodes = [each.op_type for each in onnx.load_from_string(content).graph.node]
    assert {each.op: each.count for each in found.operators} == {op: nodes.count(op) for op in nodes}
    counts = [each.count for each in found.operators]
    assert counts == sorted(counts, reverse=True)


FOREIGN = [
    node("Conv", ["input", "weight"], ["a"], "conv"),
    node("Relu", ["a"], ["b"], "relu"),
    node("Sparkle", ["b"], ["c"], "first", domain="com.example"),
    node("Relu", ["c"], ["d"], "relu2"),
    node("Sparkle", ["d"], ["logits"], "second", domain="com.example"),
]


def test_every_refused_node_is_named_and_comes_first() -> None:
    found = compatibility(graph(FOREIGN))
    assert not found.is_whole
    first = found.operators[0]
    assert (first.op, first.count, first.refused) == ("com.example.Sparkle", 2, ("first", "second"))
    assert "no such operator" in first.reason
    assert [(each.op, each.count, each.refused) for each in found.operators[1:]] == [("Relu", 2, ()), ("Conv", 1, ())]


INTEGER_BIAS = [
    node("DequantizeLinear", ["integers", "scales", "zeros"], ["bias"], "bias", axis=0),
    node("Conv", ["input", "weight", "bias"], ["logits"], "conv"),
]
MIXED = [node("Conv", ["input", "half"], ["logits"], "conv")]


@pytest.mark.parametrize(
    ("nodes", "refused", "words"),
    [
        (rounded("zero"), None, ""),
        (rounded("three"), ("QuantizeLinear", "round"), "Non-zero zero point"),
        (rounded("middle"), ("QuantizeLinear", "round"), "Non-zero zero point"),
        (INTEGER_BIAS, ("DequantizeLinear", "bias"), "Int32"),
        (MIXED, ("Conv", "conv"), "same type"),
    ],
    ids=["zero", "int8", "uint8", "integer bias", "mixed types"],
)
def test_types_and_values_count_too(nodes: Any, refused: tuple[str, str] | None, words: str) -> None:
    found = compatibility(graph(nodes))
    named = [(each.op, *each.refused) for each in found.operators if each.refused]
    assert named == ([refused] if refused else [])
    assert words in found.operators[0].reason


def test_what_is_no_graph_is_an_error() -> None:
    with pytest.raises(RunFailed, match="cannot read the graph"):
        compatibility(b"no graph")
