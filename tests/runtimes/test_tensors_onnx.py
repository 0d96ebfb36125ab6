from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from core.bundle import ModelBundle, OnnxGraph
from core.onnx_export import export_onnx
from core.progress import result_of
from optimizers.quantization.folding import folded
from optimizers.quantization.ort_static import OrtStatic
from optimizers.quantization.quantizer import Source, StaticGrid
from optimizers.quantization.selection import layers_of
from runtimes.tensors_onnx import onnx_tensors, probe_onnx, with_output
from tests.runtimes.conftest import make_bundle
from tests.runtimes.hooked import hooked


def opened(content: bytes, optimised: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    bundle = make_bundle()
    x = bundle.contract.prepare(bundle.data.test.pixels)
    network, _ = folded(bundle.module, torch.from_numpy(x))
    layers = tuple(layers_of(network, torch.from_numpy(x)))
    source = Source(network, layers, bundle.contract, x, "cnn", tmp_path_factory.mktemp("int8"), 1)
    done = result_of(OrtStatic(StaticGrid()).observe(source)).quantize(dict.fromkeys(layers, 8)).network
    assert isinstance(done, OnnxGraph)
    return done.content


def test_each_tensor_is_what_hooks_see(bundle: ModelBundle) -> None:
    x, outputs = hooked(bundle, form="onnx")
    content = export_onnx(bundle.module, bundle.contract)
    assert outputs.keys() < set(onnx_tensors(content))
    for name, expected in outputs.items():
        np.testing.assert_allclose(probe_onnx(content, opened, x=x, name=name), expected, atol=1e-4)


def test_a_rounded_tensor_is_shown_as_later_operators_read_it(int8: bytes, bundle: ModelBundle, tmp_path: Path) -> None:
    """Quantizing took the ReLU away: what is below zero becomes the lowest integer."""
    x = bundle.contract.prepare(bundle.data.test.pixels)
    network, _ = folded(bundle.module, torch.from_numpy(x))
    with torch.inference_mode():
        expected = network.stem(torch.from_numpy(x)).numpy()
    assert "Relu" not in {node.op_type for node in onnx.load_from_string(int8).graph.node}
    given = probe_onnx(int8, opened, x=x, name="relu")
    assert given.min() == 0
    assert np.abs(given - expected).max() < 0.05 * expected.max()
    assert len(np.unique(given)) <= 256

    graph, _ = with_output(int8, "relu")
    opened(graph, tmp_path / "optimised.onnx")
    kernels = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "QLinearConv" in kernels
    assert not kernels & {"Conv", "FusedConv", "NhwcFusedConv"}


def test_number_formats_are_no_tensors_of_their_own(int8: bytes) -> None:
    names = onnx_tensors(int8)
    assert "relu" in names
    assert "logits" in names
    assert not any("Linear_Output" in name for name in names)


def test_the_logits_are_an_output_already(bundle: ModelBundle) -> None:
    content = export_onnx(bundle.module, bundle.contract)
    graph, output = with_output(content, "logits")
    assert output == "logits"
    assert [each.name for each in onnx.load_from_string(graph).graph.output] == ["logits"]
