from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sample_models
from core.bundle import Precision
from core.devices import Device, find_device
from core.layers import LayerProfile
from core.macs import count_macs
from core.progress import result_of
from experiments.peaks import peaks_for
from optimizers import TECHNIQUES, Context
from runtimes import RUNTIMES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
BATCH = 64


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


def profile_of(key: str, runtime: str, precision: Precision, gpu: Device, folder: Path) -> LayerProfile:
    if reason := RUNTIMES[runtime].why_unavailable(gpu):
        pytest.skip(reason)
    bundle = sample_models.load(key)
    if precision != "fp32":
        context = Context(gpu, 1, 0, folder, sample_models.build_student)
        bundle = result_of(TECHNIQUES["mixed_precision"](precision=precision).apply(bundle, context))
    (folder / "artifact").mkdir()
    artifact = RUNTIMES[runtime].export(bundle, folder / "artifact")
    x = np.resize(bundle.contract.prepare(bundle.data.test.pixels[:BATCH]), (BATCH, *bundle.contract.shape))
    return RUNTIMES[runtime].profile(artifact, gpu, threads=1, x=x)


@pytest.mark.parametrize("runtime", ["pytorch", "torch_compile"])
@pytest.mark.parametrize("key", ["resnet_fmnist", "vit_fmnist"])
def test_kernels_of_the_network_are_timed_and_counted(runtime: str, key: str, gpu: Device, tmp_path: Path) -> None:
    profile = profile_of(key, runtime, "fp32", gpu, tmp_path)
    bundle = sample_models.load(key)
    assert profile.macs == BATCH * count_macs(bundle.module, bundle.contract)
    assert all(layer.time_ms > 0 for layer in profile.of("compute"))
    assert 0 < profile.layers_ms < 1.2 * profile.call_ms


@pytest.mark.parametrize("runtime", ["pytorch", "torch_compile"])
def test_fp16_layers_ran_in_fp16(runtime: str, gpu: Device, tmp_path: Path) -> None:
    profile = profile_of("resnet_fmnist", runtime, "fp16", gpu, tmp_path)
    assert {layer.precision for layer in profile.of("compute")} == {"fp16"}


@pytest.mark.parametrize("runtime", ["pytorch", "torch_compile"])
def test_fp32_convolutions_use_tf32_where_the_gpu_has_it(runtime: str, gpu: Device, tmp_path: Path) -> None:
    profile = profile_of("resnet_fmnist", runtime, "fp32", gpu, tmp_path)
    expected = "tf32" if gpu.compute_capability >= (8, 0) else "fp32"
    assert {layer.precision for layer in profile.of("compute") if "conv" in layer.op} == {expected}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_tensorrt_engine_says_what_its_layers_are(precision: Precision, gpu: Device, tmp_path: Path) -> None:
    profile = profile_of("resnet_fmnist", "tensorrt", precision, gpu, tmp_path)
    assert profile.of("compute")
    assert profile.layers_ms > 0
    convolutions = [layer for layer in profile.of("compute") if layer.macs]
    assert convolutions
    assert precision in {layer.precision for layer in convolutions}


def test_peaks_of_a_gpu(gpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    peaks = result_of(peaks_for("pytorch", gpu, threads=1, precisions=("fp32", "fp16")))
    assert peaks.macs_per_s["fp16"] > peaks.macs_per_s["fp32"] > 1e11
    assert all(rate > 1e10 for _, rate in peaks.bandwidth)
    assert peaks.lanes == (8, 8)
    if gpu.compute_capability >= (8, 0):  # convolutions use TF32 there, matrix products do not
        assert peaks.macs_per_s["tf32"] > 1.5 * peaks.macs_per_s["fp32"]
