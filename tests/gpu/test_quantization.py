"""Few bits on the GPU that multiplies them: accuracy beside float, and what the layers really computed in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sample_models
from core.bundle import ModelBundle, Situation
from core.devices import Device, find_device
from core.formats import why_not_multiplied
from core.layers import BITS
from core.macs import count_macs
from core.progress import result_of
from experiments.recipe import MeasurementSettings, Recipe
from experiments.result import RunResult
from experiments.run import run
from optimizers import Context, Technique
from optimizers.int8 import Int8
from optimizers.low_precision import Fp8
from optimizers.weight_only import WeightOnly
from runtimes import RUNTIMES
from runtimes.runtime import Artifact

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
IMAGES = 2000
BATCH = 64
POINTS = {"int8": 1.0, "fp8": 1.0, "nvfp4": 5.0, "w4": 5.0}
"""Percentage points of accuracy that each format may lose on so many images."""


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


def quantized(key: str, technique: Technique, runtime: str, gpu: Device, folder: Path) -> tuple[ModelBundle, Artifact]:
    """A sample after the technique, exported; skipped with the reason where this GPU or machine cannot."""
    if reason := RUNTIMES[runtime].why_unavailable(gpu):
        pytest.skip(reason)
    bundle = sample_models.load(key)
    situation = technique.check(Situation(bundle.family, 0, len(bundle.contract.labels), gpu, runtime))
    RUNTIMES[runtime].check(situation)
    for name in ("work", "artifact"):
        (folder / name).mkdir()
    context = Context(gpu, 1, 0, folder / "work", sample_models.build_student, runtime=runtime)
    result = result_of(technique.apply(bundle, context))
    assert (result.form, result.precision) == (situation.form, situation.precision)
    return result, RUNTIMES[runtime].export(result, folder / "artifact")


def accuracy_percent(bundle: ModelBundle, artifact: Artifact, gpu: Device) -> float:
    test = bundle.data.test.take(IMAGES)
    x = bundle.contract.prepare(test.pixels)
    with RUNTIMES[artifact.runtime].open(artifact, gpu, threads=1) as session:
        answers = np.concatenate([session.run(part).argmax(1) for part in np.array_split(x, len(x) // 250)])
    return 100 * float(test.is_correct(answers).mean())


def float_accuracy_percent(key: str) -> float:
    bundle = sample_models.load(key)
    test = bundle.data.test.take(IMAGES)
    with torch.inference_mode():
        answers = bundle.module.eval()(torch.from_numpy(bundle.contract.prepare(test.pixels))).argmax(1)
    return 100 * float(test.is_correct(answers.numpy()).mean())


def executed_bits(bundle: ModelBundle, artifact: Artifact, gpu: Device) -> set[int]:
    """Bits of what the layers that multiply worked on, as the engine's own profile says."""
    pixels = bundle.data.test.pixels[:BATCH]
    profile = RUNTIMES[artifact.runtime].profile(artifact, gpu, threads=1, x=bundle.contract.prepare(pixels))
    return {BITS[layer.precision] for layer in profile.of("compute") if layer.precision in BITS}


def skip_unless_multiplied(number_format: str, gpu: Device) -> None:
    if reason := why_not_multiplied(number_format, gpu):
        pytest.skip(f"{reason[0]}; needs {reason[1]}")


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
@pytest.mark.parametrize("key", ["resnet_fmnist", "vit_fmnist"])
def test_int8_in_tensorrt_answers_as_float_does_and_computes_in_8_bits(
    key: str, rest: str, gpu: Device, tmp_path: Path
) -> None:
    bundle, artifact = quantized(key, Int8(rest=rest), "tensorrt", gpu, tmp_path)
    assert accuracy_percent(bundle, artifact, gpu) > float_accuracy_percent(key) - POINTS["int8"]
    if key == "resnet_fmnist":  # TensorRT fuses a transformer's layers into parts that it does not describe
        assert 8 in executed_bits(bundle, artifact, gpu)


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
@pytest.mark.parametrize("key", ["resnet_fmnist", "vit_fmnist"])
def test_fp8_in_tensorrt_answers_as_float_does_and_computes_in_8_bits(
    key: str, rest: str, gpu: Device, tmp_path: Path
) -> None:
    skip_unless_multiplied("fp8", gpu)
    bundle, artifact = quantized(key, Fp8(rest=rest), "tensorrt", gpu, tmp_path)
    assert accuracy_percent(bundle, artifact, gpu) > float_accuracy_percent(key) - POINTS["fp8"]
    if key == "resnet_fmnist":
        assert 8 in executed_bits(bundle, artifact, gpu)


@pytest.mark.parametrize("runtime", ["pytorch", "torch_compile"])
@pytest.mark.parametrize("number_format", ["fp8", "nvfp4"])
def test_small_floats_in_pytorch_answer_as_float_does(
    number_format: str, runtime: str, gpu: Device, tmp_path: Path
) -> None:
    skip_unless_multiplied(number_format, gpu)
    bundle, artifact = quantized("vit_fmnist", Fp8(number_format=number_format), runtime, gpu, tmp_path)
    assert bundle.quantization
    assert {layer.bits for layer in bundle.quantization.quantized} == {4 if number_format == "nvfp4" else 8}
    given = accuracy_percent(bundle, artifact, gpu)
    assert given > float_accuracy_percent("vit_fmnist") - POINTS[number_format]


def test_fp8_layers_of_pytorch_multiply_8_bits(gpu: Device, tmp_path: Path) -> None:
    skip_unless_multiplied("fp8", gpu)
    bundle, artifact = quantized("vit_fmnist", Fp8(), "pytorch", gpu, tmp_path)
    pixels = bundle.data.test.pixels[:BATCH]
    profile = RUNTIMES["pytorch"].profile(artifact, gpu, threads=1, x=bundle.contract.prepare(pixels))
    products = [layer for layer in profile.layers if "_scaled_mm" in layer.op]
    assert bundle.quantization
    assert len(products) == len(bundle.quantization.quantized)


@pytest.mark.parametrize("runtime", ["pytorch", "tensorrt"])
def test_int4_weights_take_less_than_int8_ones_and_answer_nearly_as_float_does(
    runtime: str, gpu: Device, tmp_path: Path
) -> None:
    sizes = {}
    for bits in (8, 4):
        folder = tmp_path / str(bits)
        folder.mkdir()
        technique = WeightOnly(bits=bits, group_size=32 if bits == 4 else 0)
        bundle, artifact = quantized("vit_fmnist", technique, runtime, gpu, folder)
        sizes[bits] = artifact.size_bytes
    assert sizes[4] < sizes[8]
    assert accuracy_percent(bundle, artifact, gpu) > float_accuracy_percent("vit_fmnist") - POINTS["w4"]


def test_a_recipe_in_fp8_runs_from_start_to_end(gpu: Device, tmp_path: Path) -> None:
    recipe = Recipe(
        model="vit_fmnist",
        techniques=(Fp8(),),
        runtime="pytorch",
        device=gpu.id,
        measurement=MeasurementSettings(latency_seconds=1, sweep_seconds=0),
    )
    result = RunResult.model_validate(list(run(recipe, tmp_path))[-1].result)  # type: ignore[union-attr]
    assert result.precision == "fp8"
    assert result.size.macs == count_macs(sample_models.load("vit_fmnist").module, sample_models.contract("vit_fmnist"))
