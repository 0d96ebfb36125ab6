"""A graph in halves, and what stays in float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.bundle import ModelBundle, OnnxGraph
from core.errors import CannotCompose, RunFailed
from core.onnx_reference import reference
from core.progress import Note
from optimizers.mixed_precision import MixedPrecision
from optimizers.technique import Context
from tests.optimizers.conftest import events_and_result
from tests.optimizers.quantization.test_graph_pipeline import GRAPH, SITUATION, TEST_X, bundle, context

__all__ = ["bundle", "context"]

FP16 = MixedPrecision(precision="fp16")
BF16 = MixedPrecision(precision="bf16")


def overflowing() -> bytes:
    """The same answers, by way of values 300,000 times as large before the head."""
    model = onnx.load_from_string(GRAPH)
    head = next(node for node in model.graph.node if node.name == "head")
    for name, factor in (("large", 3e5), ("small", 1 / 3e5)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([factor], np.float32), name))
    place = list(model.graph.node).index(head)
    model.graph.node.insert(place, helper.make_node("Mul", ["i", "large"], ["huge"], "grow"))
    model.graph.node.insert(place + 1, helper.make_node("Mul", ["huge", "small"], ["back"], "shrink"))
    head = next(node for node in model.graph.node if node.name == "head")
    head.input[0] = "back"
    content: bytes = model.SerializeToString()
    return content


def content_of(bundle: ModelBundle) -> bytes:
    assert isinstance(bundle.network, OnnxGraph)
    return bundle.network.content


def test_weights_become_halves_between_float_ends(bundle: ModelBundle, context: Context) -> None:
    events, done = events_and_result(FP16.apply(bundle, replace(context, runtime="tensorrt")))
    graph = onnx.load_from_string(content_of(done)).graph
    assert {each.data_type for each in graph.initializer} == {TensorProto.FLOAT16}
    assert [each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)] == [TensorProto.FLOAT] * 2
    expected = reference(GRAPH)(TEST_X)
    np.testing.assert_allclose(reference(content_of(done))(TEST_X), expected, atol=0.01 * np.abs(expected).max())
    assert (done.precision, content_of(bundle)) == ("fp16", GRAPH)
    assert not [each for each in events if isinstance(each, Note)]


def test_what_would_overflow_stays_in_float32_and_is_named(bundle: ModelBundle, context: Context) -> None:
    planted = replace(bundle, network=OnnxGraph(overflowing()))
    events, done = events_and_result(FP16.apply(planted, replace(context, runtime="tensorrt")))
    (note,) = (each for each in events if isinstance(each, Note))
    assert "2 operators stay in float32" in note.text
    assert "grow, shrink" in note.text
    given, expected = reference(content_of(done))(TEST_X), reference(GRAPH)(TEST_X)
    np.testing.assert_allclose(given, expected, atol=0.01 * np.abs(expected).max())
    with pytest.raises(RunFailed, match="grow, shrink would overflow fp16"):
        events_and_result(FP16.apply(planted, replace(context, runtime="openvino")))


def test_openvino_rounds_the_graph_when_it_opens_it(bundle: ModelBundle, context: Context) -> None:
    _, done = events_and_result(BF16.apply(bundle, replace(context, runtime="openvino")))
    assert (content_of(done), done.precision, done.applied) == (GRAPH, "bf16", ("mixed_precision",))


@pytest.mark.parametrize(
    ("technique", "runtime", "says"),
    [
        (BF16, "tensorrt", "bf16 for TensorRT of a model that is an ONNX file"),
        (BF16, "onnxruntime", "bf16 for ONNX Runtime"),
        (MixedPrecision(fine_tune_epochs=1), "openvino", "Fine-tuning for a model that is an ONNX file"),
    ],
)
def test_what_cannot_be_is_refused_beforehand(technique: MixedPrecision, runtime: str, says: str) -> None:
    able = replace(SITUATION.device, cpu_flags=frozenset({"avx512_bf16"}))
    with pytest.raises(CannotCompose, match=says):
        technique.check(replace(SITUATION, device=able, runtime=runtime))
