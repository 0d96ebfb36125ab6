"""What a .tflite file holds, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from core.bundle import KerasModel, OnnxGraph, TfliteModel
from core.tflite_file import TfliteFile, facts_of, parameters_of_file, precision_of_file, tflite_of
from core.tflite_macs import macs_of_file
from tests.core.tflite_graphs import Op, Tensor, constant, dense, file_of

POOLED = (Path(__file__).parents[1] / "runtimes" / "data" / "pooled.tflite").read_bytes()
RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_the_facts_of_a_network_that_tensorflow_converted() -> None:
    facts = facts_of(POOLED)
    assert facts.operators == {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "ADD": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    assert facts.parameter_count == 8 * 3 * 3 * 3 + 3 * 3 * 8 + 5 * 8 + 8 + 8
    assert facts.nonzero_count == facts.parameter_count - 8, "the depthwise convolution has a bias of zeros"
    assert facts.macs == 6 * 5 * 8 * 27 + 6 * 5 * 8 * 9 + 5 * 8
    assert [(each.operator, each.shape, each.zeros) for each in facts.weights] == [
        ("CONV_2D", (8, 3, 3, 3), 0), ("DEPTHWISE_CONV_2D", (1, 3, 3, 8), 0), ("FULLY_CONNECTED", (5, 8), 0),
    ]  # fmt: skip
    assert {(each.dtype, each.bits, each.distinct == each.count) for each in facts.weights} == {("float32", 32, True)}
    assert (facts.input_type, facts.output_type) == ("float32", "float32")
    assert precision_of_file(POOLED) == "fp32"


def test_zeros_and_clusters_of_float_weights() -> None:
    weights = np.float32([[0.5, 0, -1, 0.5], [0, 0, -1, -0.0]])
    facts = facts_of(dense(weights, np.float32([1, 0])))
    assert (facts.parameter_count, facts.nonzero_count) == (10, 5)
    (found,) = facts.weights
    assert (found.zeros, found.distinct, found.name, found.operator) == (4, 3, "w", "FULLY_CONNECTED")


def test_of_quantized_weights_the_zero_point_counts_as_zero() -> None:
    weights = np.array([[3, 4, 3, 5]], np.uint8)
    content = dense(weights, np.array([7], np.int32), w={"scale": 0.1, "zero_point": 3}, b={"scale": 0.1})
    assert parameters_of_file(content) == (5, 3)
    assert facts_of(content).weights[0].zeros == 2


@pytest.mark.parametrize(("dtype", "packed"), [("INT4", [0x0F, 0x78]), ("UINT4", [0x0F, 0x78])])
def test_numbers_of_four_bits_are_unpacked_from_the_lowest(dtype: str, packed: list[int]) -> None:
    w = {"dtype": dtype, "shape": (1, 3), "scale": 0.1}
    content = dense_of_bytes(np.uint8(packed), w)
    values = TfliteFile(content).values(1)
    assert values is not None
    assert values.tolist() == ([-1, 0, -8] if dtype == "INT4" else [15, 0, 8])
    assert facts_of(content).weights[0].bits == 4


def dense_of_bytes(packed: np.ndarray, weights: dict[str, Any]) -> bytes:
    tensors = [Tensor("x", (1, 3)), constant("w", packed, **weights), Tensor("y", (1, 1))]
    return file_of(tensors, [Op("FULLY_CONNECTED", ("x", "w", ""), "y", schema.FullyConnectedOptionsT())], "x", "y")


@pytest.mark.parametrize(
    ("given", "weights", "widened", "precision"),
    [
        ("FLOAT32", np.float32, False, "fp32"),
        ("FLOAT32", np.float16, True, "w16"),
        ("FLOAT32", np.int8, True, "w8"),
        ("FLOAT32", np.int8, False, "int8"),
        ("INT8", np.int8, False, "int8"),
        ("INT16", np.int8, False, "int16"),
    ],
)
def test_what_a_file_computes_in(given: str, weights: Any, widened: bool, precision: str) -> None:
    scale = {} if np.dtype(weights).kind == "f" else {"scale": 0.1}
    tensors = [
        Tensor("x", (1, 4), given, scale=0.1),
        constant("w", np.ones((2, 4), weights), **scale),
        Tensor("wide", (2, 4)),
        Tensor("y", (1, 2), given, scale=0.1),
    ]
    multiply = Op("FULLY_CONNECTED", ("x", "wide" if widened else "w", ""), "y", schema.FullyConnectedOptionsT())
    widen = [Op("DEQUANTIZE", ("w",), "wide")] if widened else []
    content = file_of(tensors, [*widen, multiply], "x", "y")
    assert precision_of_file(content) == precision
    assert facts_of(content).weights[0].operator == "FULLY_CONNECTED"


def test_what_decides_shapes_and_single_numbers_are_no_parameters() -> None:
    tensors = [
        Tensor("x", (1, 2, 2)),
        constant("to", np.array([1, 4], np.int32)),
        constant("two", np.float32(2)),
        Tensor("flat", (1, 4)),
        Tensor("y", (1, 4)),
    ]
    operators = [Op("RESHAPE", ("x", "to"), "flat"), Op("MUL", ("flat", "two"), "y", schema.MulOptionsT())]
    content = file_of(tensors, operators, "x", "y")
    assert parameters_of_file(content) == (0, 0)
    assert precision_of_file(content) == "fp32"


def test_multiplications_of_every_kind() -> None:
    tensors = [
        Tensor("x", (1, 4, 6, 3)),
        constant("up", floats(5, 2, 2, 3)),
        constant("sides", np.array([1, 8, 12, 5], np.int32)),
        Tensor("large", (1, 8, 12, 5)),
        Tensor("y", (1, 8, 5, 5)),
    ]
    transposed = Op("TRANSPOSE_CONV", ("sides", "up", "x"), "large", schema.TransposeConvOptionsT())
    options = schema.BatchMatMulOptionsT()
    options.adjX = True  # [8, 12, 5] as [8, 5, 12]
    product = Op("BATCH_MATMUL", ("large", "large"), "y", options)
    expected = 4 * 6 * 3 * (5 * 2 * 2) + 8 * 5 * 5 * 12
    assert macs_of_file(file_of(tensors, [transposed, product], "x", "y")) == expected


def test_sides_that_the_file_leaves_open_are_looked_up_by_running_it() -> None:
    tensors = [
        Tensor("x", (1, 6)),
        constant("to", np.array([1, 3, 2], np.int32)),
        Tensor("rows", (1, 1, 1), signature=(-1, -1, -1)),
        constant("w", floats(5, 2)),
        Tensor("y", (1, 1, 5), signature=(-1, -1, 5)),
    ]
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    operators = [Op("RESHAPE", ("x", "to"), "rows"), Op("FULLY_CONNECTED", ("rows", "w", ""), "y", options)]
    assert macs_of_file(file_of(tensors, operators, "x", "y")) == 3 * 2 * 5


def test_the_file_of_a_network_is_its_own_or_its_conversion() -> None:
    assert tflite_of(TfliteModel(b"own")) == b"own"
    assert tflite_of(KerasModel(b"", b"converted")) == b"converted"
    assert tflite_of(OnnxGraph(b"")) is None
