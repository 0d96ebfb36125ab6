"""What ONNX Runtime's profile says of products whose weights are kept in few bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.layers import Layer
from runtimes.layers_onnxruntime import profile_onnx

BATCH, INPUTS, OUTPUTS, BLOCK = 2, 96, 10, 32
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at closely here."""
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.05)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)


def product_of(nodes: list[onnx.NodeProto], folder: Path, **constants: np.ndarray[Any, Any]) -> Layer:
    """The one layer that multiplies, as profiled."""
    values = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", INPUTS]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", OUTPUTS]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "one", values[:1], values[1:], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "one.onnx")
    profile = profile_onnx(folder / "one.onnx", threads=1, x=np.ones((BATCH, INPUTS), np.float32))
    (layer,) = profile.of("compute")
    return layer


@pytest.mark.parametrize(("bits", "level", "precision"), [(4, 0, "w4"), (8, 0, "w8"), (4, 4, "int8"), (8, 4, "int8")])
def test_packed_weights_count_with_their_bytes_and_multiply_as_their_node_may(
    tmp_path: Path, bits: int, level: int, precision: str
) -> None:
    blocks, blob = INPUTS // BLOCK, BLOCK * bits // 8
    node = helper.make_node(
        "MatMulNBits",
        ["input", "packed", "scale"],
        ["logits"],
        "head",
        domain="com.microsoft",
        K=INPUTS,
        N=OUTPUTS,
        bits=bits,
        block_size=BLOCK,
        **({"accuracy_level": level} if level else {}),
    )
    layer = product_of(
        [node],
        tmp_path,
        packed=RANDOM.integers(0, 256, (OUTPUTS, blocks, blob), np.uint8),
        scale=np.ones((OUTPUTS, blocks), np.float32),
    )
    assert (layer.name, layer.op, layer.precision) == ("head", "MatMulNBits", precision)
    assert layer.macs == BATCH * INPUTS * OUTPUTS
    assert layer.weight_bytes == OUTPUTS * blocks * (blob + 4)
    assert layer.channels == (INPUTS, OUTPUTS)


def test_a_product_of_integers_that_are_chosen_anew_is_int8(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["input"], ["x", "x_scale", "x_zero"], "quantize"),
        helper.make_node("MatMulInteger", ["x", "packed", "x_zero", "zero"], ["whole"], "head"),
        helper.make_node("Cast", ["whole"], ["cast"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x_scale", "scale"], ["scales"], "scales"),
        helper.make_node("Mul", ["cast", "scales"], ["logits"], "scaled"),
    ]
    layer = product_of(
        nodes,
        tmp_path,
        packed=RANDOM.integers(-127, 128, (INPUTS, OUTPUTS), np.int8),
        scale=np.ones(OUTPUTS, np.float32),
        zero=np.zeros(OUTPUTS, np.int8),
    )
    assert (layer.name, layer.op, layer.precision) == ("head", "DynamicQuantizeMatMul", "int8")
    assert layer.macs == BATCH * INPUTS * OUTPUTS
    assert layer.weight_bytes == INPUTS * OUTPUTS + OUTPUTS * (4 + 1)
    assert layer.channels == (INPUTS, OUTPUTS)
