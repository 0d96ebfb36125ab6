"""Intermediate tensors as engines on a GPU compute them, beside PyTorch's on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.export.passes import move_to_device_pass

from core.devices import Device, find_device
from core.onnx_export import export_onnx
from runtimes import RUNTIMES
from runtimes.tensors_pytorch import probe_program
from runtimes.tensors_tensorrt import probe_tensorrt
from tests.runtimes.conftest import make_bundle
from tests.runtimes.hooked import hooked

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.mark.parametrize("compiles", [False, True])
def test_tensors_of_a_program_are_those_of_the_cpu(compiles: bool, gpu: Device, tmp_path: Path) -> None:
    bundle = make_bundle()
    x, outputs = hooked(bundle, form="pt2")
    artifact = RUNTIMES["pytorch"].export(bundle, tmp_path)
    program = move_to_device_pass(torch.export.load(artifact.main_file), gpu.id).module()
    for name in ("relu", "linear"):
        given = probe_program(
            program, torch.device(gpu.id), x=x, name=name, prepare=torch.compile if compiles else None
        )
        np.testing.assert_allclose(given, outputs[name], atol=5e-3 * np.abs(outputs[name]).max())


def test_tensors_of_tensorrt_are_those_of_the_cpu(gpu: Device) -> None:
    from runtimes.tensorrt_build import Order, build_engine
    from runtimes.tensorrt_module import load, module_name

    if reason := RUNTIMES["tensorrt"].why_unavailable(gpu):
        pytest.skip(reason)
    bundle = make_bundle()
    x, outputs = hooked(bundle, form="onnx")

    def build(graph: bytes) -> bytes:
        return build_engine(Order(graph, bundle.contract.shape, gpu, batches=(len(x),) * 3)).content

    content, trt = export_onnx(bundle.module, bundle.contract), load(module_name())
    for name in ("relu", "logits"):
        given = probe_tensorrt(trt, content, build, torch.device(gpu.id), x=x, name=name)
        np.testing.assert_allclose(given, outputs[name], atol=5e-3 * np.abs(outputs[name]).max())
