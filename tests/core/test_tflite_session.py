"""An opened .tflite file answers as numpy does, for any batch, in float and in integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from core.errors import BadInput, RunFailed
from core.tflite_ends import Ends, Kernels
from core.tflite_session import TfliteSession
from tests.core.tflite_graphs import Op, Tensor, constant, dense, file_of

DATA = Path(__file__).parents[1] / "runtimes" / "data"
RANDOM = np.random.default_rng(0)
WEIGHTS, BIAS = RANDOM.normal(size=(3, 4)).astype(np.float32), RANDOM.normal(size=3).astype(np.float32)
X = RANDOM.normal(size=(5, 4)).astype(np.float32)


@pytest.mark.parametrize("kernels", ["xnnpack", "own", "reference"])
def test_a_dense_layer_is_numpys_product_for_any_batch(kernels: Kernels) -> None:
    with TfliteSession(dense(WEIGHTS, BIAS), kernels, 1) as session:
        assert not hasattr(session, "largest_batch")
        for count in (1, 5, 2):
            np.testing.assert_allclose(session.run(X[:count]), X[:count] @ WEIGHTS.T + BIAS, atol=1e-5)


@pytest.mark.parametrize("name", ["pooled", "flattened"])
@pytest.mark.parametrize("kernels", ["xnnpack", "own", "reference"])
def test_images_with_channels_first_get_tensorflows_logits(name: str, kernels: Kernels) -> None:
    known = np.load(DATA / "tflite.npz")
    x = np.ascontiguousarray(known["images"].transpose(0, 3, 1, 2))
    with TfliteSession(DATA / f"{name}.tflite", kernels, 1) as session:
        np.testing.assert_allclose(session.run(x), known[name], atol=1e-4)
        assert getattr(session, "largest_batch", None) == (1 if name == "flattened" else None)


def test_what_was_bound_is_computed_whatever_was_asked_in_between() -> None:
    with TfliteSession(dense(WEIGHTS, BIAS), "xnnpack", 1) as session:
        first, second = session.bind(X[:1]), session.bind(X[1:])
        for infer, x in ((first, X[:1]), (second, X[1:]), (first, X[:1])):
            infer()
            answered = session._interpreter.get_tensor(session._ends.answer.index)
            np.testing.assert_allclose(answered, x @ WEIGHTS.T + BIAS, atol=1e-5)
            session.run(X[2:4])


def test_a_file_for_one_image_says_so_and_is_asked_one_by_one() -> None:
    known = np.load(DATA / "tflite.npz")
    x = np.ascontiguousarray(known["images"].transpose(0, 3, 1, 2))
    with TfliteSession(DATA / "flattened.tflite", "xnnpack", 1) as session:
        session.bind(x[:1])()
        with pytest.raises(BadInput, match=r"7 images at once for a \.tflite file that takes 1"):
            session.bind(x)


def test_a_file_for_three_images_is_filled_up() -> None:
    """Reshapes to a fixed size inside let no other batch through."""
    tensors = [
        Tensor("x", (3, 4)),
        constant("to", np.array([3, 2, 2], np.int32)),
        Tensor("square", (3, 2, 2)),
        constant("axes", np.array([1], np.int32)),
        Tensor("y", (3, 2)),
    ]
    operators = [Op("RESHAPE", ("x", "to"), "square"), Op("SUM", ("square", "axes"), "y", schema.ReducerOptionsT())]
    with TfliteSession(file_of(tensors, operators, "x", "y"), "own", 1) as session:
        assert session.largest_batch == 3
        np.testing.assert_allclose(session.run(X), X.reshape(5, 2, 2).sum(1), atol=1e-6)


def test_integers_at_the_ends_are_rounded_and_widened_as_their_scales_say() -> None:
    weights = np.int8([[1, 0, 0, 0], [0, 1, 0, 0]])
    ends = {"x": {"dtype": "INT8", "scale": 0.5, "zero_point": 10}, "w": {"scale": 1.0}, "b": {"scale": 0.5},
            "y": {"dtype": "INT8", "scale": 0.25, "zero_point": -3}}  # fmt: skip
    content = dense(weights, np.zeros(2, np.int32), **ends)
    x = np.float32([[1.2, -0.9, 7, 7], [1000, -1000, 7, 7]])
    with TfliteSession(content, "reference", 1) as session:
        answered = session.run(x)
    assert answered[0].tolist() == [1.0, -1.0], "the nearest multiples of 0.5"
    assert answered[1].tolist() == [0.25 * (127 + 3), 0.25 * (-128 + 3)], "held within 8 bits"
    assert Ends.of(content).given.limits == (-128, 127)


def test_images_of_another_size_are_refused() -> None:
    with (
        TfliteSession(DATA / "pooled.tflite", "own", 1) as session,
        pytest.raises(BadInput, match=r"images of the shape \[1, 3, 8, 8\] for a model that takes \[1, 12, 10, 3\]"),
    ):
        session.run(np.zeros((1, 3, 8, 8), np.float32))


def test_an_operator_that_litert_lacks_is_named() -> None:
    content = file_of([Tensor("x", (1, 4)), Tensor("y", (1, 4))], [Op("Sine", ("x",), "y")], "x", "y")
    with pytest.raises(RunFailed, match="LiteRT does not support the operator Sine"):
        TfliteSession(content, "own", 1)
