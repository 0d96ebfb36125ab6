from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits
from torch import nn

from core.progress import Progress, result_of
from optimizers.quantization.ort_weights import OrtWeights, pack, why_refused
from optimizers.quantization.quantizer import Quantized, WeightGrid
from optimizers.quantization.twin import rounded, twin
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, events_and_result
from tests.optimizers.quantization.sources import TEST_X, exported_once, float_logits, graph_of, logits_of, source_of

INPUTS, HIDDEN = 144, 10


class Perceptron(nn.Module):
    """A layer with a bias (a Gemm) and one without, and a width that no power of two divides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(INPUTS, HIDDEN)
        self.second = nn.Linear(HIDDEN, CLASSES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x.flatten(1))))


@pytest.fixture(autouse=True)
def export_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.onnx_export.export_onnx", exported_once)


@cache
def perceptron() -> Perceptron:
    """Always the same; not to be changed."""
    return Perceptron()


def quantize(network: nn.Module, folder: Path, bits: dict[str, int], **grid: Any) -> Quantized:
    settings = {"group_size": 32, "symmetric": True, "dynamic": False} | grid
    return result_of(OrtWeights(WeightGrid(**settings)).observe(source_of(network, folder))).quantize(bits)


def unpacked(quantized: Quantized, layer: str) -> NDArray[np.float64]:
    """[outputs, inputs]: a layer's weights as its packed constants mean them."""
    graph = graph_of(quantized)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    (node,) = (node for node in graph.node if node.name == layer)
    facts = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    assert node.op_type == "MatMulNBits"
    blob, scale = (constants[name] for name in node.input[1:3])
    zeros = constants[node.input[3]] if len(node.input) > 3 else None
    weights = np.zeros((facts["N"], facts["K"]))
    for row in range(facts["N"]):
        for column in range(facts["K"]):
            block, place = divmod(column, facts["block_size"])
            integer, zero = blob[row, block, place * facts["bits"] // 8], 2 ** (facts["bits"] - 1)
            if facts["bits"] == 4:
                integer = integer >> 4 if place % 2 else integer & 15
            if zeros is not None:
                zero = zeros[row, block * facts["bits"] // 8]
                if facts["bits"] == 4:
                    zero = zero >> 4 if block % 2 else zero & 15
            weights[row, column] = (float(integer) - float(zero)) * scale[row, block]
    return weights


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [0, 32, 128])
def test_unpacked_weights_lie_within_half_a_step_of_the_float_ones(
    tmp_path: Path, bits: int, group_size: int, symmetric: bool
) -> None:
    network = perceptron()
    layer = network.first
    quantized = quantize(network, tmp_path, {"first": bits}, group_size=group_size, symmetric=symmetric)
    weights, kept = layer.weight.detach().numpy(), unpacked(quantized, "first")
    scale = np.asarray(quantized.grids["first"].weight.scale)
    size = group_size or INPUTS
    steps = np.repeat(scale.reshape(HIDDEN, -1), size, 1)[:, :INPUTS]
    error = np.abs(kept - weights) / steps
    if symmetric:
        # The value opposite to the largest one can lie half a step beyond the last integer.
        assert np.mean(error > 0.501) < 0.05
        assert error.max() < 1.001
    else:
        assert error.max() < 0.501
    assert np.mean(error) > 0.2, "with so few values most of them move"


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 64, 256])
def test_packing_is_that_of_onnx_runtimes_own_packer(bits: int, block: int, symmetric: bool) -> None:
    outputs, inputs = 24, 256
    weight = np.random.default_rng(0).normal(size=(outputs, inputs)).astype(np.float32)
    blocks, parts = inputs // block, 8 // bits
    blob = np.zeros((outputs, blocks, block // parts), np.uint8)
    scale = np.zeros((outputs, blocks), np.float32)
    zeros = np.zeros((outputs, -(-blocks // parts)), np.uint8)
    packer = quantize_matmul_4bits if bits == 4 else quantize_matmul_8bits
    packer(blob, weight.T.copy(), scale, zeros, block, outputs, inputs, symmetric)
    packed = pack(weight, bits, block, symmetric=symmetric)
    np.testing.assert_allclose(packed.scale, scale, rtol=1e-6)
    assert np.mean(packed.integers != blob) < 1e-2, "but for values in the middle between two integers"
    if symmetric:
        assert packed.zero_point is None
    else:
        assert packed.zero_point is not None
        used = 15 if blocks == 1 and bits == 4 else 255
        assert np.mean(packed.zero_point & used != zeros & used) < 1e-2


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [0, 16, 64])
def test_the_engine_multiplies_by_the_unpacked_weights(
    tmp_path: Path, bits: int, group_size: int, symmetric: bool
) -> None:
    network = perceptron()
    quantized = quantize(network, tmp_path, {"first": bits, "second": bits}, group_size=group_size, symmetric=symmetric)
    first, second = (unpacked(quantized, layer) for layer in ("first", "second"))
    hidden = np.tanh(TEST_X.reshape(len(TEST_X), -1) @ first.T + network.first.bias.detach().numpy())
    np.testing.assert_allclose(logits_of(quantized), hidden @ second.T, atol=1e-5)
    assert np.abs(logits_of(quantized) - float_logits(network)).max() > 1e-4


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [0, 32])
def test_grids_give_the_unpacked_weights_again(tmp_path: Path, bits: int, group_size: int, symmetric: bool) -> None:
    network = perceptron()
    quantized = quantize(network, tmp_path, {"first": bits}, group_size=group_size, symmetric=symmetric)
    grid = quantized.grids["first"]
    assert grid.input is None
    assert grid.weight.bits == bits
    assert (grid.weight.scale > 0).all()
    assert grid.weight.scale.shape == ((HIDDEN, 5) if group_size else (HIDDEN,))
    again = rounded(network.first.weight.detach(), grid.weight).numpy()
    np.testing.assert_allclose(again, unpacked(quantized, "first"), atol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
def test_whole_channels_in_dynamic_int8_are_products_of_integers(tmp_path: Path, symmetric: bool) -> None:
    network = perceptron()
    quantized = quantize(network, tmp_path, {"first": 8}, group_size=0, symmetric=symmetric, dynamic=True)
    assert quantized.precision == "int8"
    graph = graph_of(quantized)
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    (node,) = (node for node in graph.node if node.op_type == "MatMulInteger")
    assert node.name == "first"
    weights = network.first.weight.detach().numpy()
    low, high = np.minimum(weights.min(1), 0), np.maximum(weights.max(1), 0)
    scale = np.abs(weights).max(1) / 127 if symmetric else (high - low) / 255
    zeros = np.zeros(HIDDEN) if symmetric else np.rint(-128 - low / scale)
    integers = np.clip(np.rint(weights / scale[:, None]) + zeros[:, None], -128, 127)
    assert np.mean(integers != constants[node.input[1]].T) < 1e-3
    np.testing.assert_array_equal(constants[node.input[3]], zeros)
    np.testing.assert_allclose(quantized.grids["first"].weight.scale, scale, rtol=1e-6)
    np.testing.assert_array_equal(quantized.grids["first"].weight.zero_point, zeros)

    x = TEST_X.reshape(len(TEST_X), -1)
    x_scale = (x.max() - x.min()) / 255
    x_zero = np.rint(-x.min() / x_scale)
    x_integers = np.clip(np.rint(x / x_scale) + x_zero, 0, 255)
    sums = (x_integers - x_zero) @ (constants[node.input[1]] - zeros)
    hidden = np.tanh(sums * x_scale * scale + network.first.bias.detach().numpy())
    np.testing.assert_allclose(logits_of(quantized), hidden @ network.second.weight.detach().numpy().T, atol=1e-3)


@pytest.mark.parametrize("bits", [4, 8])
def test_groups_in_dynamic_int8_round_what_comes_in(tmp_path: Path, bits: int) -> None:
    network = perceptron()
    still, dynamic = (
        quantize(network, tmp_path, {"first": bits}, group_size=32, dynamic=dynamic) for dynamic in (False, True)
    )
    assert dynamic.precision == ("w4" if bits == 4 else "int8")
    assert still.precision == f"w{bits}"
    error = np.abs(logits_of(dynamic) - logits_of(still)).max()
    assert 1e-5 < error < 0.05 * np.abs(logits_of(still)).max()


def test_layers_can_have_4_bits_8_bits_and_float_in_one_graph(tmp_path: Path) -> None:
    network = TinyTransformer()
    bits = {"blocks.0.attn.qkv": 4, "blocks.0.mlp.fc1": 8, "head": 4}
    quantized = quantize(network, tmp_path, bits)
    nodes = {node.name: node for node in graph_of(quantized).node}
    kept = {name: node for name, node in nodes.items() if node.op_type == "MatMulNBits"}
    facts = {
        name: {each.name: helper.get_attribute_value(each) for each in node.attribute} for name, node in kept.items()
    }
    assert {name: fact["bits"] for name, fact in facts.items()} == bits
    assert {name: grid.weight.bits for name, grid in quantized.grids.items()} == bits
    assert quantized.precision == "w4"
    assert nodes["blocks.1.mlp.fc2"].op_type == "MatMul"
    weights = {each.name: each for each in graph_of(quantized).initializer}
    assert weights[nodes["blocks.1.mlp.fc2"].input[1]].data_type == onnx.TensorProto.FLOAT
    expected = float_logits(twin(network, quantized.grids))
    np.testing.assert_allclose(logits_of(quantized), expected, atol=1e-4)


def test_convolutions_and_products_of_activations_are_left_alone(tmp_path: Path) -> None:
    network = TinyTransformer()
    before = graph_of(quantize(network, tmp_path, {}))
    quantized = quantize(network, tmp_path, {"patch_embed": 8, "blocks.0.attn": 8, "blocks.0.attn/0": 8, "head": 8})
    assert set(quantized.grids) == {"head"}
    untouched = [node for node in before.node if node.name != "head"]
    assert [node for node in graph_of(quantized).node if node in untouched] == untouched


def test_quantizing_again_leaves_nothing_of_the_first_time(tmp_path: Path) -> None:
    observed = result_of(OrtWeights(WeightGrid(32, True, False)).observe(source_of(perceptron(), tmp_path)))
    first, second, third = (observed.quantize(bits) for bits in ({"first": 4}, {"second": 8}, {"first": 4}))
    assert set(first.grids) == set(third.grids) == {"first"}
    assert set(second.grids) == {"second"}
    np.testing.assert_array_equal(logits_of(first), logits_of(third))
    assert np.abs(logits_of(first) - logits_of(second)).max() > 0


@pytest.mark.parametrize("group_size", [0, 128])
def test_8_bits_take_a_quarter_of_the_bytes_of_float_and_4_half_of_that(tmp_path: Path, group_size: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 512), nn.Linear(512, 512), nn.Linear(512, CLASSES))
    sizes = {}
    for width in (32, 8, 4):
        asked = {name: width for name in ("1", "2", "3") if width < 32}
        sizes[width] = len(quantize(network, tmp_path, asked, group_size=group_size).network.content)  # type: ignore[union-attr]
    assert sizes[8] < 0.32 * sizes[32]
    assert sizes[4] < 0.55 * sizes[8]


def test_any_batch_size_gives_the_same_answers(tmp_path: Path) -> None:
    quantized = quantize(TinyTransformer(), tmp_path, {"blocks.0.mlp.fc1": 4, "head": 8}, dynamic=True)
    np.testing.assert_allclose(logits_of(quantized, TEST_X[:1]), logits_of(quantized)[:1], atol=1e-5)


def test_a_layer_of_zeros_stays_zero(tmp_path: Path) -> None:
    network = Perceptron()
    with torch.no_grad():
        network.second.weight.zero_()
    for grid in ({"dynamic": True, "group_size": 0}, {"symmetric": False}, {}):
        quantized = quantize(network, tmp_path, {"first": 8, "second": 8}, **grid)
        assert not logits_of(quantized).any()


def test_no_calibration_image_is_looked_at(tmp_path: Path) -> None:
    source = source_of(TinyNet(), tmp_path, x=TEST_X[:1] * np.nan)
    events, observed = events_and_result(OrtWeights(WeightGrid(0, True, False)).observe(source))
    assert all(isinstance(event, Progress) for event in events)
    assert np.isfinite(logits_of(observed.quantize({"head": 8}))).all()


@pytest.mark.parametrize(("size", "fits"), [(0, True), (16, True), (128, True), (8, False), (48, False), (1, False)])
def test_groups_that_the_engine_does_not_have_are_refused_with_the_reason(size: int, fits: bool) -> None:
    reason = why_refused(WeightGrid(size, True, False))
    assert reason is None if fits else str(size) in str(reason)
