"""Small weights for TensorRT, run here by ONNX Runtime; TensorRT reads such graphs in tests/runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from core.bundle import OnnxGraph
from core.progress import result_of
from optimizers.quantization.quantizer import Bits, Quantized, Source, WeightGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.tensorrt_weights import TensorRtWeights, TensorRtWeightsObserved, why_weights_refused
from optimizers.quantization.twin import twin
from tests.optimizers.conftest import CONTRACT, DATA, TinyTransformer

X = CONTRACT.prepare(DATA.calibrate.pixels)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return TinyTransformer().eval()


@pytest.fixture(scope="module")
def layers(network: torch.nn.Module) -> tuple[str, ...]:
    return tuple(layers_of(network, torch.from_numpy(X[:2])))


@pytest.fixture(scope="module")
def observed(
    network: torch.nn.Module, layers: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> TensorRtWeightsObserved:
    source = Source(network, layers, CONTRACT, X, "transformer", tmp_path_factory.mktemp("weights"), 1)
    return result_of(TensorRtWeights(WeightGrid(16, symmetric=True, dynamic=False)).observe(source))


def graph_of(quantized: Quantized) -> Any:
    assert isinstance(quantized.network, OnnxGraph)
    return onnx.load_from_string(quantized.network.content).graph


def stored(quantized: Quantized, layer: str) -> Any:
    graph = graph_of(quantized)
    makers = {name: node for node in graph.node for name in node.output}
    (node,) = (node for node in graph.node if node.name == layer)
    values = {each.name: each for each in graph.initializer}
    return values[makers[node.input[1]].input[0]]


@pytest.mark.parametrize(("bits", "top"), [(4, 7), (8, 127)])
@pytest.mark.parametrize("layer", ["blocks.1.mlp.fc2", "head"])
def test_scales_and_integers_are_those_of_the_formula(
    layer: str, bits: int, top: int, network: torch.nn.Module, observed: TensorRtWeightsObserved
) -> None:
    quantized = observed.quantize({layer: bits})
    grid = quantized.grids[layer].weight
    weight = network.get_submodule(layer).weight.detach().numpy()  # type: ignore[operator,union-attr]
    groups = weight.reshape(len(weight), -1, 16 if bits == 4 else weight.shape[1])
    scale = np.abs(groups).max(-1) / top
    np.testing.assert_allclose(grid.scale, scale if bits == 4 else scale[:, 0], rtol=1e-6)
    assert (grid.bits, grid.low, grid.high) == (bits, -top, top)
    tensor = stored(quantized, layer)
    assert tensor.data_type == (onnx.TensorProto.INT4 if bits == 4 else onnx.TensorProto.INT8)
    integers = numpy_helper.to_array(tensor).astype(int)
    expected = np.rint(groups / scale[..., None]).reshape(weight.shape)
    np.testing.assert_array_equal(integers if layer == "head" else integers.T, expected)


def mixed(layers: tuple[str, ...]) -> Bits:
    return {name: 8 if name.endswith("qkv") else 4 for name in layers if name != "blocks.0.mlp.fc1"}


def test_the_graph_answers_as_the_network_with_rounded_weights_does(
    network: torch.nn.Module, layers: tuple[str, ...], observed: TensorRtWeightsObserved
) -> None:
    quantized = observed.quantize(mixed(layers))
    assert isinstance(quantized.network, OnnxGraph)
    options = onnxruntime.SessionOptions()
    # Its optimiser would also round what comes in.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(quantized.network.content, options, providers=["CPUExecutionProvider"])
    given = session.run(["logits"], {"input": X})[0]
    with torch.inference_mode():
        expected = twin(network, quantized.grids)(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_only_the_linear_layers_that_were_asked_for_are_rounded(
    layers: tuple[str, ...], observed: TensorRtWeightsObserved
) -> None:
    quantized = observed.quantize(mixed(layers))
    assert set(quantized.grids) == set(layers) - {"patch_embed", "blocks.0.mlp.fc1"}
    assert quantized.precision == "w4"
    assert observed.quantize({"head": 8}).precision == "w8"
    dequantized = [node for node in graph_of(quantized).node if node.op_type == "DequantizeLinear"]
    assert len(dequantized) == len(quantized.grids)


def test_floats_are_not_kept_beside_the_integers(
    network: torch.nn.Module, layers: tuple[str, ...], observed: TensorRtWeightsObserved, tmp_path: Path
) -> None:
    def float_bytes(quantized: Quantized) -> int:
        tensors = (numpy_helper.to_array(each) for each in graph_of(quantized).initializer)
        return sum(tensor.nbytes for tensor in tensors if tensor.dtype == np.float32)

    small, large = float_bytes(observed.quantize(dict.fromkeys(layers, 8))), float_bytes(observed.quantize({}))
    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
    freed = sum(4 * (module.weight.numel() - module.out_features) for module in linear)
    assert large - small == freed


@pytest.mark.parametrize(
    ("grid", "bits", "reason"),
    [
        (WeightGrid(32, symmetric=True, dynamic=False), 4, None),
        (WeightGrid(0, symmetric=True, dynamic=False), 8, None),
        (WeightGrid(0, symmetric=True, dynamic=False), 4, "in groups"),
        (WeightGrid(32, symmetric=False, dynamic=False), 4, "zero points"),
        (WeightGrid(32, symmetric=True, dynamic=True), 8, "anew at every inference"),
    ],
)
def test_what_its_parser_would_reject_is_refused_with_the_reason(
    grid: WeightGrid, bits: int, reason: str | None
) -> None:
    refused = why_weights_refused(grid, bits=bits)
    assert refused is None if reason is None else reason in str(refused)
