from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle
from core.devices import Device
from optimizers.quantization.folding import folded
from optimizers.quantization.nncf_static import NncfStatic
from optimizers.quantization.quantizer import StaticGrid
from runtimes import RUNTIMES
from runtimes.tensors_openvino import openvino_tensors, probe_openvino
from tests.runtimes.hooked import hooked
from tests.runtimes.test_openvino_models import quantized

RUNTIME = RUNTIMES["openvino"]


@pytest.fixture(scope="module", autouse=True)
def only_where_it_runs() -> None:
    if reason := RUNTIME.why_unavailable(Device("cpu", "cpu", "A CPU", 1)):
        pytest.skip(reason)


def compiled(model: Any) -> Any:
    import openvino

    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_each_tensor_is_what_hooks_see(bundle: ModelBundle, tmp_path: Path) -> None:
    x, outputs = hooked(bundle, form="onnx")
    path = RUNTIME.export(bundle, tmp_path).main_file
    assert outputs.keys() <= set(openvino_tensors(path)) | {"logits"}
    for name, expected in outputs.items():
        np.testing.assert_allclose(probe_openvino(path, compiled, x=x, name=name), expected, atol=1e-4)


def test_a_rounded_tensor_is_shown_as_later_operations_read_it(bundle: ModelBundle, tmp_path: Path) -> None:
    path = RUNTIME.export(quantized(NncfStatic(StaticGrid())), tmp_path).main_file
    x = bundle.contract.prepare(bundle.data.test.pixels)
    network, _ = folded(bundle.module, torch.from_numpy(x))
    with torch.inference_mode():
        expected = network.stem(torch.from_numpy(x)).numpy()
    given = probe_openvino(path, compiled, x=x, name="relu")
    assert 1 < len(np.unique(given)) <= 256
    assert np.abs(given - expected).max() < 0.05 * expected.max()
