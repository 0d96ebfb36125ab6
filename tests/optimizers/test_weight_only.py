from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.errors import CannotCompose, NothingDone
from core.progress import result_of
from core.quantization import FLOAT_BITS
from optimizers.technique import Context
from optimizers.weight_only import WeightOnly
from tests.optimizers.conftest import DATA, bundle_of


@pytest.fixture
def for_onnx(context: Context) -> Context:
    return replace(context, runtime="onnxruntime")


@pytest.mark.parametrize("bits", [8, 4])
def test_only_linear_layers_change_and_answers_stay_close(
    transformer: ModelBundle, for_onnx: Context, bits: int
) -> None:
    technique = WeightOnly(bits=bits, group_size=32)  # type: ignore[arg-type]
    result = result_of(technique.apply(transformer, for_onnx))
    assert isinstance(result.network, OnnxGraph)
    assert result.quantization is not None
    assert [layer.kind for layer in result.quantization.quantized] == ["Linear"] * 9
    assert {layer.bits for layer in result.quantization.quantized} == {bits}
    assert [layer.why_float for layer in result.quantization.layers if layer.kind == "Conv2d"] == [
        "Only linear layers are quantized here."
    ]
    assert result.precision == f"w{bits}"
    x = transformer.contract.prepare(DATA.test.pixels)
    with torch.inference_mode():
        expected = transformer.module(torch.from_numpy(x)).numpy()
    logits = onnxruntime.InferenceSession(result.network.content).run(["logits"], {"input": x})[0]
    assert np.abs(logits - expected).max() < {8: 0.05, 4: 0.6}[bits] * np.abs(expected).max()


def test_layers_can_have_8_bits_or_float_where_others_have_4(transformer: ModelBundle, for_onnx: Context) -> None:
    technique = WeightOnly(bits=4, group_size=32, keep=("head",), keep_8bit=("*.qkv",))
    result = result_of(technique.apply(transformer, for_onnx))
    assert result.quantization is not None
    bits = {layer.name: layer.bits for layer in result.quantization.layers}
    assert bits["head"] == FLOAT_BITS
    assert {bits[name] for name in bits if name.endswith("qkv")} == {8}
    assert {bits[name] for name in bits if "mlp" in name} == {4}


def test_a_network_without_linear_layers_is_an_error(for_onnx: Context) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 12), torch.nn.Flatten())
    with pytest.raises(NothingDone, match="0 of 0 layers"):
        result_of(WeightOnly().apply(bundle_of(network.eval()), for_onnx))


@pytest.mark.parametrize(
    ("settings", "runtime", "reason"),
    [
        ({"keep_8bit": ("head",)}, "onnxruntime", "where all are"),
        ({"activations": "dynamic"}, "tensorrt", "not anew at every inference"),
        ({"group_size": 32}, "openvino", "one scale a channel"),
        ({"bits": 4, "activations": "dynamic"}, "torch_compile", "8 bits, not 4"),
    ],
)
def test_what_makes_no_sense_is_refused(
    settings: dict[str, object], runtime: str, reason: str, situation: Situation
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        WeightOnly.model_validate(settings).check(replace(situation, runtime=runtime))


@pytest.mark.parametrize(
    ("settings", "label", "precision"),
    [
        ({}, "INT8 weights", "w8"),
        ({"bits": 4, "group_size": 64}, "INT4 weights /64", "w4"),
        ({"activations": "dynamic"}, "INT8 dynamic weights", "int8"),
    ],
)
def test_labels_and_precisions_say_what_is_multiplied(
    settings: dict[str, object], label: str, precision: str, situation: Situation
) -> None:
    technique = WeightOnly.model_validate(settings)
    assert technique.label() == label
    assert technique.check(replace(situation, runtime="onnxruntime")).precision == precision
