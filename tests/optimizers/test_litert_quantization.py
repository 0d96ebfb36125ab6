"""LiteRT's quantizer on files of TensorFlow: what it rounds, and what is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from bridges.environments import LITERT_TORCH
from core.bundle import Form, KerasModel, ModelBundle, Situation, TfliteModel
from core.data import DataSplits, InputContract, Split
from core.errors import BadInput, CannotCompose, NothingDone, Unavailable
from core.progress import Note, Progress
from core.tflite_file import TfliteFile, facts_of, precision_of_file
from core.tflite_rewriting import named_by_operator, plain_form
from optimizers import Context
from optimizers.litert_quantization import LiteRtQuantization
from tests.core.test_tflite_rewriting import packed, tables
from tests.optimizers.conftest import events_and_result

DATA = Path(__file__).parents[1] / "runtimes" / "data"
POOLED = named_by_operator(plain_form((DATA / "pooled.tflite").read_bytes()))
CONTRACT = InputContract(3, 12, 10, (128.0,) * 3, (40.0,) * 3, ("a", "b", "c", "d", "e"))
SCHEMES = ("dynamic_int8", "static_int8", "weights_int8", "dynamic_int4", "weights_int4", "static_16x8")


@pytest.fixture
def brought() -> ModelBundle:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (64, 3, 12, 10), np.uint8), np.zeros((64, 1), np.int64))
    return ModelBundle("brought", "cnn", TfliteModel(POOLED), CONTRACT, DataSplits(split.take(0), split, split))


@pytest.fixture
def of_tflite(situation: Situation) -> Situation:
    return replace(situation, runtime="litert", form="tflite", brought_as="tflite")


def answers(content: bytes, images: np.ndarray) -> np.ndarray:
    """One image at a time, as the file was made."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert given["dtype"] == answer["dtype"] == np.float32
    answered = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        answered.append(interpreter.get_tensor(answer["index"])[0])
    return np.stack(answered)


def as_it_wants(bundle: ModelBundle) -> np.ndarray:
    return np.ascontiguousarray(bundle.contract.prepare(bundle.data.test.pixels).transpose(0, 2, 3, 1))


def quantized(bundle: ModelBundle, context: Context, scheme: str) -> ModelBundle:
    technique = LiteRtQuantization(scheme=scheme, calibration_images=64)  # type: ignore[arg-type]
    return events_and_result(technique.apply(bundle, context))[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_makes_a_smaller_file_that_answers_much_the_same(
    scheme: str, brought: ModelBundle, of_tflite: Situation, context: Context
) -> None:
    technique = LiteRtQuantization(scheme=scheme, calibration_images=64)  # type: ignore[arg-type]
    events, result = events_and_result(technique.apply(brought, context))
    assert isinstance(result.network, TfliteModel)
    foretold = technique.check(of_tflite)
    assert (foretold.form, foretold.precision, foretold.applied) == (result.form, result.precision, result.applied)
    assert precision_of_file(result.network.content) == result.precision
    assert any(isinstance(event, Note) for event in events)
    assert any(isinstance(event, Progress) for event in events) == scheme.startswith("static")
    x = as_it_wants(brought)
    exact, rounded = answers(POOLED, x), answers(result.network.content, x)
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 0 < error < (0.5 if "int4" in scheme else 0.05)
    stored = {each.shape: each.bits for each in facts_of(result.network.content).weights}
    assert stored[(8, 3, 3, 3)] == (4 if "int4" in scheme else 8)
    assert brought.network.content == POOLED  # type: ignore[union-attr]


def test_weights_are_the_nearest_integers_on_a_grid_of_each_channel(brought: ModelBundle, context: Context) -> None:
    """real = scale x integer, the largest weight of a channel being 127."""
    result = quantized(brought, context, "weights_int8")
    assert isinstance(result.network, TfliteModel)
    before, after = TfliteFile(POOLED), TfliteFile(result.network.content)
    exact = {before.shape(index): before.values(index) for _, index in before.weights()}
    for _, index in after.weights():
        channel = 3 if after.shape(index)[0] == 1 else 0  # depthwise ones have theirs last
        weights, stored = exact[after.shape(index)], after.values(index)
        assert weights is not None
        assert stored is not None
        weights = weights.reshape(after.shape(index))
        axes = tuple(axis for axis in range(weights.ndim) if axis != channel)
        scale = np.abs(weights).max(axis=axes, keepdims=True) / 127
        assert np.array_equal(stored.reshape(weights.shape), np.rint(weights / scale))


def test_ranges_reach_from_the_smallest_to_the_largest_value_seen(brought: ModelBundle, context: Context) -> None:
    result = quantized(brought, context, "static_16x8")
    assert isinstance(result.network, TfliteModel)
    interpreter = Interpreter(model_content=result.network.content)
    scales = {each["name"]: each["quantization_parameters"]["scales"] for each in interpreter.get_tensor_details()}
    x = brought.contract.prepare(brought.data.calibrate.take(64).pixels)
    of_input = [scale for name, scale in scales.items() if name.startswith("input") and len(scale)]
    assert of_input[0][0] == pytest.approx(np.abs(x).max() / 32767, rel=1e-3)


def test_of_a_keras_network_its_float_conversion_is_quantized(brought: ModelBundle, context: Context) -> None:
    keras = replace(brought, network=KerasModel(b"", POOLED))
    assert quantized(keras, context, "dynamic_int8").network.content == (  # type: ignore[union-attr]
        quantized(brought, context, "dynamic_int8").network.content  # type: ignore[union-attr]
    )


@pytest.mark.parametrize("scheme", ["static_int8", "weights_int8"])
def test_openvino_answers_as_litert_does(scheme: str, brought: ModelBundle, context: Context, tmp_path: Path) -> None:
    result = quantized(brought, context, scheme)
    assert isinstance(result.network, TfliteModel)
    (tmp_path / "model.tflite").write_bytes(result.network.content)
    compiled = openvino.Core().compile_model(tmp_path / "model.tflite", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = as_it_wants(brought)[:8]
    expected = answers(result.network.content, x)
    assert np.allclose(np.concatenate([compiled(image[None])[0] for image in x]), expected, atol=0.1)


@pytest.mark.parametrize("scheme", [each for each in SCHEMES if each not in ("static_int8", "weights_int8")])
def test_what_openvino_cannot_open_or_computes_in_float_is_refused(scheme: str, of_tflite: Situation) -> None:
    technique = LiteRtQuantization(scheme=scheme)  # type: ignore[arg-type]
    with pytest.raises(CannotCompose, match="static INT8 or INT8 weights, because"):
        technique.check(replace(of_tflite, runtime="openvino"))


def test_other_engines_and_texts_are_refused(of_tflite: Situation) -> None:
    with pytest.raises(CannotCompose, match="Choose LiteRT as the engine"):
        LiteRtQuantization().check(replace(of_tflite, runtime="onnxruntime"))
    with pytest.raises(CannotCompose, match="a model for texts"):
        LiteRtQuantization().check(replace(of_tflite, form="torch", brought_as="torch", task="text"))


def test_quantized_networks_are_refused(brought: ModelBundle, of_tflite: Situation, context: Context) -> None:
    with pytest.raises(CannotCompose, match="quantized already"):
        LiteRtQuantization().check(replace(of_tflite, precision="int8"))
    with pytest.raises(CannotCompose, match="a second time"):
        LiteRtQuantization().check(LiteRtQuantization().check(of_tflite))
    with pytest.raises(BadInput, match="fewer bits than 32 already"):
        quantized(quantized(brought, context, "weights_int8"), context, "dynamic_int8")


@pytest.mark.parametrize("form", ["torch", "keras", "tflite"])
def test_only_networks_of_pytorch_need_litert_torch(
    form: Form, of_tflite: Situation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("optimizers.litert_quantization.LITERT_TORCH", replace(LITERT_TORCH, folder=tmp_path))
    situation = replace(of_tflite, form=form, brought_as=form)
    if form != "torch":
        assert LiteRtQuantization().check(situation).form == "tflite"
        return
    with pytest.raises(Unavailable, match="LiteRT Torch is not installed"):
        LiteRtQuantization().check(situation)


def test_without_calibration_images_static_schemes_say_what_to_do(brought: ModelBundle, context: Context) -> None:
    none = replace(brought, data=replace(brought.data, calibrate=brought.data.calibrate.take(0)))
    with pytest.raises(BadInput, match="Choose a dynamic scheme"):
        quantized(none, context, "static_int8")
    assert quantized(none, context, "dynamic_int8").precision == "int8"


def test_a_network_without_weights_has_nothing_to_round(brought: ModelBundle, context: Context) -> None:
    """Of the file, the mean over its pixels alone."""
    model = tables(POOLED)
    graph = model.subgraphs[0]
    means = [
        operator
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.MEAN
    ]
    graph.operators, graph.inputs, graph.outputs = means, means[0].inputs[:1], means[0].outputs
    mean = replace(brought, network=TfliteModel(plain_form(packed(model))))
    with pytest.raises(NothingDone, match="no weights"):
        quantized(mean, context, "dynamic_int8")


def test_labels_tell_the_scheme() -> None:
    assert [LiteRtQuantization(scheme=each).label() for each in ("static_int8", "dynamic_int4")] == [  # type: ignore[arg-type]
        "INT8 by LiteRT's quantizer",
        "Dynamic INT4 by LiteRT's quantizer",
    ]


def test_the_schemes_that_fit_openvino_are_those_that_it_is_not_refused(of_tflite: Situation) -> None:
    fits = LiteRtQuantization.fitting("image", "openvino")["scheme"]
    for scheme in SCHEMES:
        technique = LiteRtQuantization(scheme=scheme)  # type: ignore[arg-type]
        with nullcontext() if scheme in fits else pytest.raises(CannotCompose, match="because OpenVINO"):
            technique.check(replace(of_tflite, runtime="openvino"))
    assert LiteRtQuantization.fitting("image", "litert") == {}
