from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.devices import Device
from core.errors import BadInput, CannotCompose
from core.progress import Note, Progress, result_of
from optimizers.int8 import Int8
from optimizers.technique import Context
from tests.optimizers.conftest import DATA, events_and_result

GPU = Device("cuda:0", "cuda", "a GPU", 2**30, compute_capability=(8, 9))


@pytest.fixture
def for_onnx(context: Context) -> Context:
    return replace(context, runtime="onnxruntime")


def test_the_result_answers_like_the_float_network_for_any_batch(bundle: ModelBundle, for_onnx: Context) -> None:
    result = result_of(Int8(calibration_images=48).apply(bundle, for_onnx))
    assert isinstance(result.network, OnnxGraph)
    session = onnxruntime.InferenceSession(result.network.content)
    x = bundle.contract.prepare(DATA.test.pixels)
    import torch

    with torch.inference_mode():
        expected = bundle.module.eval()(torch.from_numpy(x)).numpy()
    logits = session.run(["logits"], {"input": x})[0]
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(session.run(["logits"], {"input": x[:1]})[0], logits[:1], atol=1e-5)


def test_what_happened_is_told_with_progress_over_the_images(bundle: ModelBundle, for_onnx: Context) -> None:
    events, result = events_and_result(Int8(calibration_images=48).apply(bundle, for_onnx))
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.text.startswith("3 of 3 layers quantized by ONNX Runtime")
    assert any(isinstance(event, Progress) and event.unit == "images" and event.done == 48 for event in events)
    assert result.quantization is not None
    assert [layer.bits for layer in result.quantization.layers] == [8, 8, 8]


def test_a_kept_layer_is_float_in_the_graph(bundle: ModelBundle, for_onnx: Context) -> None:
    result = result_of(Int8(calibration_images=16, keep=("head",)).apply(bundle, for_onnx))
    assert isinstance(result.network, OnnxGraph)
    graph = onnx.load_from_string(result.network.content).graph
    (head,) = [node for node in graph.node if node.name == "head"]
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert weights[head.input[1]] == onnx.TensorProto.FLOAT


def test_a_pattern_without_a_layer_is_bad_input(bundle: ModelBundle, for_onnx: Context) -> None:
    with pytest.raises(BadInput, match="No layer is called 'tail'"):
        result_of(Int8(keep=("tail",)).apply(bundle, for_onnx))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False), ({"avx2", "avx_vnni"}, False), ((), False)],
)
def test_seven_bits_are_for_cpus_that_could_overflow(flags: set[str], expected: bool) -> None:
    device = Device("cpu", "cpu", "some CPU", 2**30, cpu_flags=frozenset(flags))
    assert Int8()._grid(device).seven_bit_weights is expected
    assert Int8(weight_range="reduced")._grid(device).seven_bit_weights
    assert not Int8(weight_range="full")._grid(device).seven_bit_weights


def test_seven_bits_are_said(bundle: ModelBundle, for_onnx: Context) -> None:
    events, _ = events_and_result(Int8(calibration_images=16, weight_range="reduced").apply(bundle, for_onnx))
    assert any(isinstance(event, Note) and event.text == "Weights have 7 bits." for event in events)


@pytest.mark.parametrize(
    ("runtime", "form"),
    [("onnxruntime", "onnx"), ("openvino", "openvino"), ("torch_compile", "torch"), ("tensorrt", "onnx")],
)
def test_every_engine_gets_the_form_it_takes(runtime: str, form: str, situation: Situation) -> None:
    after = Int8().check(replace(situation, runtime=runtime, device=GPU if runtime == "tensorrt" else situation.device))
    assert (after.form, after.precision) == (form, "int8")


@pytest.mark.parametrize(
    ("settings", "change", "reason"),
    [
        ({}, {"runtime": "pytorch"}, "eager PyTorch would compute"),
        ({"method": "entropy"}, {"runtime": "openvino"}, "min-max, percentile or MSE"),
        ({"method": "entropy"}, {"runtime": "torch_compile"}, "min-max or by MSE"),
        ({"method": "percentile"}, {"runtime": "tensorrt", "device": GPU}, "min-max or entropy"),
        ({"per_channel": False}, {"runtime": "tensorrt", "device": GPU}, "a scale per channel"),
        ({"rest": "fp16"}, {"runtime": "onnxruntime"}, "TensorRT"),
        ({"smooth_quant": 0.5}, {}, "transformer"),
        ({"reestimate_batchnorm": True}, {"family": "transformer"}, "BatchNorm"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_with_what_it_can(
    settings: dict[str, object], change: dict[str, object], reason: str, situation: Situation
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        Int8.model_validate(settings).check(replace(situation, **change))  # type: ignore[arg-type]


def test_nothing_is_printed_or_logged(
    bundle: ModelBundle, for_onnx: Context, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    result_of(Int8(calibration_images=16, method="entropy").apply(bundle, for_onnx))
    assert capsys.readouterr().out == ""
    assert not [record for record in caplog.records if record.name == "root"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "INT8"),
        ({"method": "entropy"}, "INT8 entropy"),
        ({"per_channel": False, "max_loss": 0.5}, "INT8 per tensor ≤ 0.5 points"),
    ],
)
def test_the_label_says_what_matters(settings: dict[str, object], expected: str) -> None:
    assert Int8.model_validate(settings).label() == expected
