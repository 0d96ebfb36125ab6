"""Post-training quantization of the Keras sample by TensorFlow's converter, measured with LiteRT here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bridges.environments import TENSORFLOW, Environment
from core.bundle import KerasModel, ModelBundle, Situation, TfliteModel
from core.data import DataSplits
from core.devices import find_device
from core.errors import BadInput, CannotCompose, Unavailable
from core.progress import Note
from optimizers import keras_fit
from optimizers.keras_quantization import KerasQuantization
from optimizers.technique import Context
from sample_models.registry import load
from tests.optimizers.conftest import BF16_CPU, events_and_result

needs_tensorflow = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
KERAS = Situation("cnn", 100, 10, BF16_CPU, "litert", form="keras", brought_as="keras")
IMAGES = 400
ACTIVATIONS = {"int8": "int8", "int16x8": "int16", "dynamic": "float32", "fp16": "float32"}
WEIGHTS = {"int8": "int8", "int16x8": "int8", "dynamic": "int8", "fp16": "float16"}


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return load("keras_cnn_fmnist")


def quantized(bundle: ModelBundle, folder: Path, **settings: Any) -> tuple[list[Note], ModelBundle]:
    context = Context(find_device("cpu"), 1, 0, folder, lambda key: None, runtime="litert")  # type: ignore[arg-type,return-value]
    events, result = events_and_result(KerasQuantization(**settings).apply(bundle, context))
    assert [*folder.iterdir()] == []
    return [event for event in events if isinstance(event, Note)], result


def opened(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=content, experimental_op_resolver_type=kernels)


def accuracy(content: bytes, bundle: ModelBundle) -> float:
    """Of the first test images, in percent."""
    interpreter, test = opened(content), bundle.data.test.take(IMAGES)
    x = np.ascontiguousarray(bundle.contract.prepare(test.pixels).transpose(0, 2, 3, 1))
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return 100 * float(test.is_correct(interpreter.get_tensor(answer["index"]).argmax(1)).mean())


@needs_tensorflow
@pytest.mark.parametrize(
    ("scheme", "precision", "share"),
    [("int8", "int8", 0.28), ("dynamic", "int8", 0.28), ("fp16", "w16", 0.52), ("int16x8", "int16", 0.28)],
)
def test_each_scheme_shrinks_the_file_and_keeps_the_accuracy(
    scheme: str, precision: str, share: float, bundle: ModelBundle, tmp_path: Path
) -> None:
    before = dict(vars(bundle))
    notes, result = quantized(bundle, tmp_path, scheme=scheme, calibration_images=64)
    assert isinstance(result.network, TfliteModel)
    assert isinstance(bundle.network, KerasModel)
    content, whole = result.network.content, bundle.network.tflite
    assert len(content) <= share * len(whole)
    assert accuracy(content, bundle) == pytest.approx(accuracy(whole, bundle), abs=1.5)
    assert (result.precision, result.applied) == (precision, ("keras_quantization",))
    assert dict(vars(bundle)) == before
    assert notes


@needs_tensorflow
@pytest.mark.parametrize("scheme", ACTIVATIONS)
def test_numbers_have_the_types_that_the_scheme_says(scheme: str, bundle: ModelBundle, tmp_path: Path) -> None:
    network = quantized(bundle, tmp_path, scheme=scheme, calibration_images=8)[1].network
    assert isinstance(network, TfliteModel)
    interpreter = opened(network.content)
    types = {each["index"]: np.dtype(each["dtype"]).name for each in interpreter.get_tensor_details()}
    computing = [each for each in interpreter._get_ops_details() if each["op_name"] in ("CONV_2D", "FULLY_CONNECTED")]
    assert {types[int(each["outputs"][0])] for each in computing} == {ACTIVATIONS[scheme]}
    assert WEIGHTS[scheme] in types.values()
    assert types[interpreter.get_input_details()[0]["index"]] == "float32"
    assert types[interpreter.get_output_details()[0]["index"]] == "float32"


def test_static_schemes_need_images_to_calibrate_on(bundle: ModelBundle, tmp_path: Path) -> None:
    data = bundle.data
    empty = replace(bundle, data=DataSplits(data.train, data.calibrate.take(0), data.test))
    with pytest.raises(BadInput, match="no calibration images"):
        quantized(empty, tmp_path, scheme="int8")


def test_check_foretells_a_file_in_few_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_fit, "TENSORFLOW", type("Here", (), {"why_missing": None}))
    for scheme, precision in {"int8": "int8", "dynamic": "int8", "fp16": "w16", "int16x8": "int16"}.items():
        after = KerasQuantization(scheme=scheme).check(KERAS)  # type: ignore[arg-type]
        assert (after.form, after.precision, after.applied) == ("tflite", precision, ("keras_quantization",))


def test_what_is_quantized_already_is_refused() -> None:
    with pytest.raises(CannotCompose, match="after quantization"):
        KerasQuantization().check(replace(KERAS, form="tflite", precision="int8", applied=("keras_qat",)))


def test_without_tensorflow_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(keras_fit, "TENSORFLOW", Environment("tensorflow", "TensorFlow", tmp_path, "2.3 GB"))
    with pytest.raises(Unavailable, match=r"studio\.py install tensorflow"):
        KerasQuantization().check(KERAS)


def test_what_openvino_would_compute_in_float_is_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_fit, "TENSORFLOW", SimpleNamespace(why_missing=None))
    with pytest.raises(CannotCompose, match="in float"):
        KerasQuantization(scheme="dynamic").check(replace(KERAS, runtime="openvino"))
    assert KerasQuantization(scheme="int8").check(replace(KERAS, runtime="openvino")).precision == "int8"
