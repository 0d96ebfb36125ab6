from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx

from core.bundle import ModelBundle
from core.devices import Device
from core.torchao_import import import_torchao, import_x86_quantizer
from optimizers.quantization.folding import folded
from runtimes import RUNTIMES
from runtimes.tensors_pytorch import probe_program, program_tensors
from tests.runtimes.hooked import hooked
from tests.runtimes.quantized import quantized

CPU = torch.device("cpu")


def program_of(bundle: ModelBundle, folder: Path, key: str = "pytorch") -> fx.GraphModule:
    artifact = RUNTIMES[key].export(bundle, folder)
    program = torch.export.load(artifact.main_file).module()
    assert isinstance(program, fx.GraphModule)
    return program


def test_each_tensor_is_what_hooks_see(bundle: ModelBundle, tmp_path: Path) -> None:
    x, outputs = hooked(bundle, form="pt2")
    program = program_of(bundle, tmp_path)
    assert outputs.keys() < set(program_tensors(program))
    for name, expected in outputs.items():
        np.testing.assert_allclose(probe_program(program, CPU, x=x, name=name), expected, atol=1e-4)


def test_a_compiled_tensor_is_the_same(bundle: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    if reason := RUNTIMES["torch_compile"].why_unavailable(cpu):
        pytest.skip(reason)
    x, outputs = hooked(bundle, form="pt2")
    served: list[fx.GraphModule] = []

    def compile_it(network: fx.GraphModule) -> fx.GraphModule:
        served.append(network)
        return torch.compile(network, dynamic=False)  # type: ignore[return-value]

    given = probe_program(program_of(bundle, tmp_path), CPU, x=x, name="relu", prepare=compile_it)
    np.testing.assert_allclose(given, outputs["relu"], atol=1e-4)
    assert "linear" not in {node.name for node in served[0].graph.nodes}


def test_a_rounded_tensor_is_shown_as_later_operations_read_it(bundle: ModelBundle, tmp_path: Path) -> None:
    import_torchao()
    import_x86_quantizer()
    program = program_of(quantized(bundle, "static int8", tmp_path), tmp_path, "torch_compile")
    x = bundle.contract.prepare(bundle.data.test.pixels)
    network, _ = folded(bundle.module, torch.from_numpy(x))
    with torch.inference_mode():
        expected = network.stem(torch.from_numpy(x)).numpy()
    assert not any("quantize" in name for name in program_tensors(program))
    given = probe_program(program, CPU, x=x, name="relu")
    assert 1 < len(np.unique(given)) <= 256
    assert np.abs(given - expected).max() < 0.05 * expected.max()


def test_bf16_is_shown_in_float32(bundle: ModelBundle, tmp_path: Path) -> None:
    x, outputs = hooked(bundle, form="pt2")
    given = probe_program(program_of(replace(bundle, precision="bf16"), tmp_path), CPU, x=x, name="relu")
    assert given.dtype == np.float32
    assert 0 < np.abs(given - outputs["relu"]).max() < 0.05 * outputs["relu"].max()
