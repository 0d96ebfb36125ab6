"""Quantizing an ONNX graph that a person brought, beside ONNX Runtime's own function and numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from core.bundle import ModelBundle, OnnxGraph, OpenVinoModel, Situation
from core.data import DataSplits, Floats, InputContract, Split
from core.devices import find_device
from core.errors import BadInput, CannotCompose, NothingDone
from core.onnx_reference import reference
from core.progress import result_of
from optimizers import TECHNIQUES
from optimizers.int8 import Int8
from optimizers.quantization.graph_layers import layers_of_graph, prepared_graph
from optimizers.technique import Context
from optimizers.weight_only import WeightOnly
from tests.experiments.own import CLASSES, SIDE, small_graph

CONTRACT = InputContract(3, SIDE, SIDE, (128.0,) * 3, (64.0,) * 3, CLASSES)
LAYERS = ["stem", "mix", "widen", "head"]
GRAPH = small_graph()


def split(count: int, seed: int) -> Split:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE, SIDE), np.uint8)
    return Split(pixels, np.full((count, 1), -1, np.int64))


DATA = DataSplits(split(0, 0), split(16, 1), split(16, 2))
X = CONTRACT.prepare(DATA.calibrate.pixels)
TEST_X = CONTRACT.prepare(DATA.test.pixels)


@pytest.fixture
def bundle() -> ModelBundle:
    return ModelBundle("brought", "cnn", OnnxGraph(GRAPH), CONTRACT, DATA)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(find_device("cpu"), 1, 0, tmp_path, lambda key: pytest.fail(key), runtime="onnxruntime")


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self._batches: Iterator[dict[str, Floats]] = iter([{"input": np.asarray(X, np.float32)}])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._batches, None)


def content_of(bundle: ModelBundle) -> bytes:
    assert isinstance(bundle.network, OnnxGraph)
    return bundle.network.content


def off(given: Floats, expected: Floats) -> float:
    return float(np.sqrt(np.square(given - expected).mean() / np.square(expected).mean()))


def test_int8_answers_as_quantize_static_does(bundle: ModelBundle, context: Context, tmp_path: Path) -> None:
    done = result_of(Int8(weight_range="full").apply(bundle, context))
    theirs = tmp_path / "theirs.onnx"
    prepared = onnx.load_from_string(prepared_graph(GRAPH))
    quantize_static(
        prepared, theirs, Reader(), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
    )
    np.testing.assert_allclose(
        reference(content_of(done))(TEST_X), reference(theirs.read_bytes())(TEST_X), rtol=1e-5, atol=1e-6
    )
    assert (done.form, done.precision, done.applied) == ("onnx", "int8", ("int8",))
    assert content_of(bundle) == GRAPH


def test_the_report_names_layers_by_their_nodes_and_tells_their_bits(bundle: ModelBundle, context: Context) -> None:
    report = result_of(Int8(keep=("head", "depthwise Conv2d")).apply(bundle, context)).quantization
    assert report is not None
    assert [(each.name, each.kind, each.bits) for each in report.layers] == [
        ("stem", "Conv2d", 8), ("mix", "depthwise Conv2d", 32), ("widen", "Conv2d", 8), ("head", "Linear", 32),
    ]  # fmt: skip
    assert report.layers[3].why_float == "Kept by the pattern head."
    stem = report.layers[0]
    assert stem.weight_snr_db is not None
    assert 35 < stem.weight_snr_db < 60
    assert stem.input_snr_db is not None
    assert stem.output_snr_db is not None
    assert stem.output_snr_db < stem.input_snr_db  # of two roundings together
    assert stem.inputs is not None
    assert stem.inputs.range.low == pytest.approx(X.min())
    assert stem.inputs.range.high == pytest.approx(X.max())


def test_weights_in_8_bits_are_off_by_half_a_step_at_most(bundle: ModelBundle, context: Context) -> None:
    done = result_of(WeightOnly().apply(bundle, context))
    graph = onnx.load_from_string(content_of(done)).graph
    packed = next(node for node in graph.node if node.op_type == "MatMulNBits")
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    integers, scale = (values[name] for name in packed.input[1:3])
    size = helper.get_node_attr_value(packed, "K")
    restored = ((integers.astype(np.float32) - 128) * scale[..., None]).reshape(len(CLASSES), -1)[:, :size]
    original = layers_of_graph(GRAPH)["head"].weight
    assert np.abs(restored - original).max() <= np.abs(scale).max() / 2 + 1e-6
    assert [each.bits for each in done.quantization.layers] == [32, 32, 32, 8]  # type: ignore[union-attr]


@pytest.mark.parametrize("technique", [Int8(), WeightOnly()])
def test_openvino_gets_a_model_of_its_own(bundle: ModelBundle, context: Context, technique: Int8 | WeightOnly) -> None:
    import openvino

    done = result_of(technique.apply(bundle, replace(context, runtime="openvino")))
    assert isinstance(done.network, OpenVinoModel)
    core = openvino.Core()
    model = core.read_model(done.network.xml, openvino.Tensor(np.frombuffer(done.network.weights, np.uint8)))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert 0 < off(compiled(TEST_X)[0], reference(GRAPH)(TEST_X)) < 0.05
    assert done.quantization
    assert [each.name for each in done.quantization.layers] == LAYERS
    assert {each.output_snr_db for each in done.quantization.layers} == {None}


def test_layers_go_by_weights_or_nodes_and_the_answers_stay() -> None:
    model = onnx.load_from_string(GRAPH)
    nodes = {node.name: node for node in model.graph.node}
    for name, node in (("stem", "/features/features.0/conv/Conv"), ("widen", "tower/widen/Conv2D"), ("mix", "")):
        old = f"{name}.weight"
        nodes[name].input[1] = f"onnx::Conv_{name}"
        next(each for each in model.graph.initializer if each.name == old).name = f"onnx::Conv_{name}"
        nodes[name].name = node
    prepared = prepared_graph(model.SerializeToString())
    assert list(layers_of_graph(prepared)) == ["features.0.conv", "Conv", "tower.widen", "head"]
    assert "BatchNormalization" not in {node.op_type for node in onnx.load_from_string(prepared).graph.node}
    np.testing.assert_allclose(reference(prepared)(X), reference(GRAPH)(X), rtol=1e-4, atol=1e-5)


def test_a_graph_without_layers_is_not_passed_off_as_quantized(bundle: ModelBundle, context: Context) -> None:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["input"], ["a"]), helper.make_node("Flatten", ["a"], ["logits"])],
        "no layers",
        [helper.make_tensor_value_info("input", 1, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", 1, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(NothingDone, match="0 of 0 layers"):
        result_of(Int8().apply(replace(bundle, network=OnnxGraph(model.SerializeToString())), context))


def test_a_pattern_that_fits_nothing_lists_what_there_is(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(BadInput, match=r"stem, mix, widen, head.*Conv2d, Linear, depthwise Conv2d"):
        result_of(Int8(keep=("tail",)).apply(bundle, context))


SITUATION = Situation("cnn", 0, 4, find_device("cpu"), "onnxruntime", form="onnx", brought_as="onnx")


@pytest.mark.parametrize(
    ("technique", "says"),
    [
        (Int8(max_loss=1), "An accuracy limit for a model that is an ONNX file"),
        (Int8(bias_correction=True, reestimate_batchnorm=True), "Bias correction and BatchNorm re-estimation"),
        (WeightOnly(max_loss=1), "An accuracy limit"),
        (TECHNIQUES["qat"](), "Quantization-aware training of a model that is an ONNX file"),
        (TECHNIQUES["structured_pruning"](), "weights as a named architecture"),
        (TECHNIQUES["magnitude_pruning"](), "weights as a named architecture"),
        (TECHNIQUES["two_four"](), "weights as a named architecture"),
        (TECHNIQUES["low_rank"](), "weights as a named architecture"),
        (TECHNIQUES["distillation"](), "let this model teach another one"),
    ],
)
def test_what_needs_a_torch_module_says_so_beforehand(technique: Int8, says: str) -> None:
    with pytest.raises(CannotCompose, match=says):
        technique.check(replace(SITUATION, train_images=9))


def test_what_was_brought_quantized_is_not_quantized_again() -> None:
    with pytest.raises(CannotCompose, match=r"quantized already.*measure this one as it is"):
        Int8().check(replace(SITUATION, precision="int8"))
    assert Int8().check(SITUATION).precision == "int8"
