"""ONNX Runtime's providers for NVIDIA GPUs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle, Precision
from core.devices import Device, find_device
from runtimes.onnxruntime_ import OnnxRuntime, OnnxRuntimeSettings
from tests.runtimes.conftest import make_bundle
from tests.runtimes.test_every_runtime import eager_logits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return make_bundle()


def runtime_with(settings: OnnxRuntimeSettings, gpu: Device) -> OnnxRuntime:
    if reason := OnnxRuntime(settings).why_unavailable(gpu):
        pytest.skip(reason)
    return OnnxRuntime(settings)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "settings", [OnnxRuntimeSettings(provider="tensorrt"), OnnxRuntimeSettings(rewriting="none")], ids=str
)
def test_logits_are_those_of_the_network(
    settings: OnnxRuntimeSettings, precision: Precision, gpu: Device, bundle: ModelBundle, tmp_path: Path
) -> None:
    runtime, x = runtime_with(settings, gpu), bundle.contract.prepare(bundle.data.test.pixels)
    expected = eager_logits(bundle, x)
    with runtime.open(runtime.export(replace(bundle, precision=precision), tmp_path), gpu, threads=1) as session:
        session.bind(x)()
        for count in (1, len(x)):
            answer = session.run(x[:count])
            assert answer.dtype == np.float32
            # PyTorch's tolerance for TF32 and for fp16: 10 bits of fraction in either.
            np.testing.assert_allclose(answer, expected[:count], atol=1e-2 * np.abs(expected).max())


def test_what_tensorrt_built_is_opened_again_at_once(gpu: Device, bundle: ModelBundle, tmp_path: Path) -> None:
    runtime = runtime_with(OnnxRuntimeSettings(provider="tensorrt"), gpu)
    artifact = runtime.export(bundle, tmp_path)
    took = []
    for _ in range(2):
        began = time.perf_counter()
        with runtime.open(artifact, gpu, threads=1) as session:
            session.run(bundle.contract.prepare(bundle.data.test.pixels))
        took.append(time.perf_counter() - began)
    assert any(path.suffix == ".engine" for path in (tmp_path / "tensorrt").iterdir())
    assert took[1] < 0.7 * took[0]
