"""A graph computed as it stands, against numpy."""

from __future__ import annotations

import numpy as np
from onnx import helper, numpy_helper

from core.onnx_reference import graph_trace, reference, tensors_of
from tests.core.test_onnx_macs import graph_of

DRAW = np.random.default_rng(0)
W = DRAW.standard_normal((6, 5)).astype(np.float32)
B = DRAW.standard_normal((5, 3)).astype(np.float32)
X = DRAW.standard_normal((4, 2, 6)).astype(np.float32)
GRAPH = graph_of(
    [
        helper.make_node("MatMul", ["input", "w"], ["first"], "one"),
        helper.make_node("Relu", ["first"], ["positive"], "relu"),
        helper.make_node("Neg", ["first"], ["unused"], "aside"),
        helper.make_node("MatMul", ["positive", "b"], ["logits"], "two"),
    ],
    numpy_helper.from_array(W, "w"),
    numpy_helper.from_array(B, "b"),
)
POSITIVE = np.maximum(X @ W, 0)


def test_the_logits_are_what_numpy_computes() -> None:
    np.testing.assert_allclose(reference(GRAPH)(X), POSITIVE @ B, rtol=1e-5, atol=1e-6)


def test_what_is_computed_on_the_way_can_be_asked_for() -> None:
    found = tensors_of(GRAPH, ["positive", "input"], X)
    np.testing.assert_allclose(found["positive"], POSITIVE, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["input"], X)


def test_a_trace_knows_what_each_result_comes_from() -> None:
    trace = graph_trace(GRAPH)
    assert trace.sources == {"first": (), "positive": ("first",), "unused": ("first",), "logits": ("positive",)}
    assert trace.shown_by(["unused", "logits", "first", "elsewhere"]) == ("first", "logits")
    assert trace.layers(["first", "positive"]) == ("one",)
    assert trace.layers(["positive"]) == ("relu",)
    np.testing.assert_allclose(trace.compute("first", X), X @ W, rtol=1e-5, atol=1e-6)
