"""LiteRT's own kernels as the reference, and the intermediate results of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from core.tflite_ends import Kernels
from core.tflite_reference import reference, tensor_of, tensors_in, tflite_trace
from tests.core.tflite_graphs import Op, Tensor, constant, file_of

DATA = Path(__file__).parents[1] / "runtimes" / "data"
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 4)).astype(np.float32)
FIRST, SECOND = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((6, 4), (3, 6)))


def two_layers() -> bytes:
    """relu(x @ first), summed with itself, times the second."""
    relu, plain = schema.FullyConnectedOptionsT(), schema.FullyConnectedOptionsT()
    relu.fusedActivationFunction = schema.ActivationFunctionType.RELU
    tensors = [
        Tensor("x", (1, 4)),
        constant("first", FIRST),
        Tensor("hidden", (1, 6)),
        Tensor("twice", (1, 6)),
        constant("second", SECOND),
        Tensor("y", (1, 3)),
    ]
    operators = [
        Op("FULLY_CONNECTED", ("x", "first", ""), "hidden", relu),
        Op("ADD", ("hidden", "hidden"), "twice", schema.AddOptionsT()),
        Op("FULLY_CONNECTED", ("twice", "second", ""), "y", plain),
    ]
    return file_of(tensors, operators, "x", "y")


def test_the_reference_is_numpys_answer_and_not_xnnpacks() -> None:
    hidden = np.maximum(X @ FIRST.T, 0)
    np.testing.assert_allclose(reference(two_layers())(X), 2 * hidden @ SECOND.T, atol=1e-4)


def test_the_reference_gives_tensorflows_logits() -> None:
    known = np.load(DATA / "tflite.npz")
    x = np.ascontiguousarray(known["images"].transpose(0, 3, 1, 2))
    for name in ("pooled", "flattened"):
        np.testing.assert_allclose(reference((DATA / f"{name}.tflite").read_bytes())(x), known[name], atol=1e-4)


@pytest.mark.parametrize("kernels", ["xnnpack", "own"])
def test_every_intermediate_result_can_be_had(kernels: Kernels) -> None:
    hidden = np.maximum(X @ FIRST.T, 0)
    for name, expected in (("hidden", hidden), ("twice", 2 * hidden), ("y", 2 * hidden @ SECOND.T)):
        found = tensor_of(two_layers(), name, X, kernels=kernels, threads=1)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        np.testing.assert_allclose(tflite_trace(two_layers()).compute(name, X), expected, atol=1e-4)


def test_a_trace_knows_what_comes_from_what_and_which_weights_make_it() -> None:
    trace = tflite_trace(two_layers())
    assert trace.sources == {"hidden": (), "twice": ("hidden", "hidden"), "y": ("twice",)}
    assert trace.layers(("hidden", "twice", "y")) == ("first", "second")
    assert trace.layers(("twice",)) == ("twice",)
    assert trace.shown_by(tensors_in(two_layers())) == tensors_in(two_layers()) == ("hidden", "twice", "y")
    assert trace.shown_by(("twice", "elsewhere")) == ("twice",)


def test_what_only_changes_the_format_of_numbers_is_not_shown() -> None:
    tensors = [Tensor("x", (1, 4)), Tensor("q", (1, 4), "INT8", scale=0.1), Tensor("y", (1, 4))]
    operators = [Op("QUANTIZE", ("x",), "q"), Op("DEQUANTIZE", ("q",), "y")]
    assert tensors_in(file_of(tensors, operators, "x", "y")) == ("y",)
