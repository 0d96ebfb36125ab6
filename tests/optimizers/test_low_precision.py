"""Where FP8 and NVFP4 are offered, and what its own quantizer makes of a network; the GPU's part is in tests/gpu."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.devices import Device
from core.errors import BadInput, CannotCompose
from core.progress import Note, result_of
from optimizers.low_precision import Fp8
from optimizers.technique import Context
from tests.optimizers.conftest import DATA, TinyTransformer, bundle_of, events_and_result

ADA = Device("cuda:0", "cuda", "an Ada GPU", 2**34, compute_capability=(8, 9))
BLACKWELL = replace(ADA, name="a Blackwell GPU", compute_capability=(10, 0))
AMPERE = replace(ADA, name="an Ampere GPU", compute_capability=(8, 6))


def situation_of(**changes: Any) -> Situation:
    return replace(Situation("transformer", 0, 10, ADA, "tensorrt"), **changes)


@pytest.mark.parametrize(
    ("number_format", "changes", "form"),
    [
        ("fp8", {}, "onnx"),
        ("fp8", {"family": "cnn"}, "onnx"),
        ("fp8", {"runtime": "pytorch"}, "torch"),
        ("fp8", {"runtime": "torch_compile", "device": BLACKWELL}, "torch"),
        ("nvfp4", {"runtime": "pytorch", "device": BLACKWELL}, "torch"),
    ],
)
def test_it_is_offered_where_the_gpu_multiplies_it(number_format: Any, changes: dict[str, Any], form: str) -> None:
    situation = Fp8(number_format=number_format).check(situation_of(**changes))
    assert (situation.form, situation.precision, situation.applied) == (form, number_format, ("fp8",))


@pytest.mark.parametrize(
    ("number_format", "changes", "reason"),
    [
        ("fp8", {"device": Device("cpu", "cpu", "a CPU", 1)}, "FP8 on a CPU; expected .* 8.9"),
        ("fp8", {"device": AMPERE}, "capability is 8.6; expected .* 8.9 .Ada, Hopper. or newer"),
        ("fp8", {"runtime": "openvino"}, "FP8 for the runtime openvino; expected tensorrt, pytorch"),
        ("fp8", {"runtime": "pytorch", "family": "cnn"}, "linear layers only"),
        ("nvfp4", {"runtime": "pytorch"}, "capability is 8.9; expected .* 10.0 .Blackwell. or newer"),
        ("nvfp4", {"device": BLACKWELL}, "NVFP4 for the runtime tensorrt"),
    ],
)
def test_elsewhere_it_is_refused_with_the_reason_and_a_way_out(
    number_format: Any, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CannotCompose, match=reason) as refused:
        Fp8(number_format=number_format).check(situation_of(**changes))
    assert "Simulate it with Simulated number format" in str(refused.value)


@pytest.mark.parametrize(("change", "reason"), [({"precision": "fp16"}, "Remove one"), ({"form": "onnx"}, "already")])
def test_it_wants_a_float_network(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CannotCompose, match=reason):
        Fp8().check(situation_of(**change))


def test_without_such_a_gpu_nothing_is_applied(transformer: ModelBundle, context: Context) -> None:
    with pytest.raises(CannotCompose, match="Simulate it"):
        result_of(Fp8().apply(transformer, replace(context, runtime="tensorrt")))


@pytest.fixture
def on_ada(context: Context) -> Context:
    """TensorRT's quantizer works on the CPU; only its engine needs the GPU."""
    return replace(context, runtime="tensorrt", device=ADA)


def test_a_transformer_becomes_an_fp8_graph_with_a_report(transformer: ModelBundle, on_ada: Context) -> None:
    technique = Fp8(calibration_images=32, keep=("blocks.1",))
    events, result = events_and_result(technique.apply(transformer, on_ada))
    assert isinstance(result.network, OnnxGraph)
    assert (result.precision, result.applied) == ("fp8", ("fp8",))
    assert isinstance(transformer.network, torch.nn.Module)
    report = result.quantization
    assert report
    quantized = {layer.name for layer in report.quantized}
    assert quantized == {f"blocks.0.{name}" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    assert {layer.bits for layer in report.quantized} == {8}
    kept = {layer.name: layer.why_float for layer in report.layers if layer.name.startswith("blocks.1")}
    assert all("pattern blocks.1" in reason for reason in kept.values())
    assert any(isinstance(event, Note) and "4 of 10 layers" in event.text for event in events)


def test_calibration_images_are_needed(on_ada: Context) -> None:
    data = replace(DATA, calibrate=DATA.calibrate.take(0))
    with pytest.raises(BadInput, match="no calibration images"):
        result_of(Fp8().apply(bundle_of(TinyTransformer(), "transformer", data), on_ada))


def test_the_label_names_the_format() -> None:
    assert [Fp8(number_format=each).label() for each in ("fp8", "nvfp4")] == ["FP8", "NVFP4"]
