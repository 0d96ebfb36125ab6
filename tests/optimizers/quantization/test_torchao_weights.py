from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.devices import Device
from core.progress import Progress, result_of
from optimizers.quantization.quantizer import Quantized, WeightGrid
from optimizers.quantization.torchao_weights import TorchaoWeights, why_refused
from optimizers.quantization.twin import rounded, twin
from tests.optimizers.conftest import BF16_CPU, CLASSES, TinyNet, TinyTransformer, events_and_result
from tests.optimizers.quantization.sources import TEST_X, float_logits, source_of

INPUTS, HIDDEN = 144, 10


class Perceptron(nn.Module):
    """A layer with a bias and one without, and a width that no power of two divides."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(INPUTS, HIDDEN)
        self.second = nn.Linear(HIDDEN, CLASSES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x.flatten(1))))


def quantize(network: nn.Module, folder: Path, bits: dict[str, int], **grid: Any) -> Quantized:
    settings = {"group_size": 0, "symmetric": True, "dynamic": False} | grid
    return result_of(TorchaoWeights(WeightGrid(**settings)).observe(source_of(network, folder))).quantize(bits)


def module_of(quantized: Quantized) -> nn.Module:
    assert isinstance(quantized.network, nn.Module)
    return copy.deepcopy(quantized.network)


def first_weight(network: Perceptron) -> np.ndarray:
    return network.first.weight.detach().numpy().astype(np.float64)


@pytest.mark.parametrize("group_size", [0, 16, 48])
def test_8_bit_scales_and_integers_are_those_of_the_formula(tmp_path: Path, group_size: int) -> None:
    network = Perceptron()
    quantized = quantize(network, tmp_path, {"first": 8}, group_size=group_size)
    groups = first_weight(network).reshape(HIDDEN, -1, group_size or INPUTS)
    scale = np.abs(groups).max(-1) / 127.5
    layer: Any = module_of(quantized).get_submodule("first")
    integers = np.clip(np.rint(groups / scale[..., None]), -128, 127).reshape(HIDDEN, INPUTS)
    differs = integers != layer.weight.qdata.numpy()
    assert np.mean(differs & (np.abs(integers) < 127)) < 1e-2, "but for ties, as each group's largest value is one"
    assert np.abs(integers - layer.weight.qdata.numpy()).max() <= 1
    grid = quantized.grids["first"]
    assert grid.input is None
    assert not grid.weight.zero_point.any()
    np.testing.assert_allclose(grid.weight.scale, scale[:, 0] if not group_size else scale, rtol=1e-5)
    assert quantized.precision == "w8"


@pytest.mark.parametrize("group_size", [0, 48])
def test_8_bit_weights_can_have_zero_points(tmp_path: Path, group_size: int) -> None:
    network = Perceptron()
    with torch.no_grad():
        network.first.weight += 0.05
    grid = quantize(network, tmp_path, {"first": 8}, group_size=group_size, symmetric=False).grids["first"].weight
    groups = first_weight(network).reshape(HIDDEN, -1, group_size or INPUTS)
    low, high = np.minimum(groups.min(-1), 0), np.maximum(groups.max(-1), 0)
    scale = (high - low) / 255
    np.testing.assert_allclose(grid.scale.reshape(scale.shape), scale, rtol=1e-5)
    assert np.abs(grid.zero_point.reshape(scale.shape) - (-128 - np.rint(low / scale))).max() <= 1
    assert grid.zero_point.any()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [0, 32, 128])
def test_4_bit_weights_are_those_of_the_formula(tmp_path: Path, group_size: int, symmetric: bool) -> None:
    network = Perceptron()
    quantized = quantize(network, tmp_path, {"first": 4}, group_size=group_size, symmetric=symmetric)
    size = group_size or INPUTS
    padded = np.pad(first_weight(network), ((0, 0), (0, -INPUTS % size))).reshape(HIDDEN, -1, size)
    low, high = np.minimum(padded.min(-1), 0), np.maximum(padded.max(-1), 0)
    scale = np.maximum(-low / 8, high / 7) if symmetric else (high - low) / 15
    zeros = np.full(scale.shape, 8) if symmetric else np.rint(-low / scale)
    grid = quantized.grids["first"].weight
    shape = grid.scale.shape
    assert shape == ((HIDDEN,) if not group_size else scale.shape)
    np.testing.assert_allclose(grid.scale, scale.reshape(shape), rtol=1e-5)
    np.testing.assert_array_equal(grid.zero_point, zeros.reshape(shape))
    layer: Any = module_of(quantized).get_submodule("first")
    integers = np.clip(np.rint(padded / scale[..., None]) + zeros[..., None], 0, 15).reshape(HIDDEN, -1)[:, :INPUTS]
    assert np.mean(integers != layer.integers().numpy()) < 1e-2, "but for ties"
    assert layer.weight_int4.dtype == torch.uint8
    assert layer.weight_int4.shape == (HIDDEN, INPUTS // 2), "two to a byte"
    assert quantized.precision == "w4"


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group_size", [0, 64])
def test_what_is_multiplied_are_the_weights_that_the_grids_say(
    tmp_path: Path, bits: int, group_size: int, symmetric: bool
) -> None:
    network = Perceptron()
    widths = {"first": bits, "second": bits}
    quantized = quantize(network, tmp_path, widths, group_size=group_size, symmetric=symmetric)
    expected = float_logits(twin(network, quantized.grids))
    # torchao's 8-bit scales put the largest value in the middle between two integers.
    ties = 1e-3 if bits == 8 and symmetric else 1e-5
    np.testing.assert_allclose(float_logits(module_of(quantized)), expected, atol=ties)
    assert np.abs(float_logits(module_of(quantized)) - float_logits(network)).max() > 1e-4


def test_dynamic_int8_multiplies_integers_on_a_grid_for_each_row(tmp_path: Path) -> None:
    network = Perceptron()
    quantized = quantize(network, tmp_path, {"first": 8}, dynamic=True)
    assert quantized.precision == "int8"
    x = TEST_X.reshape(len(TEST_X), -1)
    x_scale = np.abs(x).max(1, keepdims=True) / 127.5
    x_rounded = np.clip(np.rint(x / x_scale), -128, 127) * x_scale
    weight = rounded(network.first.weight.detach(), quantized.grids["first"].weight).numpy()
    hidden = np.tanh(x_rounded @ weight.T + network.first.bias.detach().numpy())
    expected = hidden @ network.second.weight.detach().numpy().T
    np.testing.assert_allclose(float_logits(module_of(quantized)), expected, atol=2e-3)
    assert np.abs(float_logits(module_of(quantized)) - float_logits(network)).max() > 1e-4


def test_layers_can_have_4_bits_8_bits_and_float_in_one_network(tmp_path: Path) -> None:
    network = TinyTransformer().eval()
    bits = {"blocks.0.attn.qkv": 4, "blocks.0.mlp.fc1": 8, "head": 4, "patch_embed": 4}
    quantized = quantize(network, tmp_path, bits, group_size=16)
    assert {name: grid.weight.bits for name, grid in quantized.grids.items()} == {
        name: width for name, width in bits.items() if name != "patch_embed"
    }
    assert quantized.precision == "w4"
    made = module_of(quantized)
    for name in ("patch_embed", "blocks.1.mlp.fc2"):
        assert torch.equal(made.get_submodule(name).weight, network.get_submodule(name).weight)  # type: ignore[arg-type]
    np.testing.assert_allclose(float_logits(made), float_logits(twin(network, quantized.grids)), atol=1e-4)


def test_quantizing_again_leaves_nothing_of_the_first_time(tmp_path: Path) -> None:
    network = Perceptron()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    observed = result_of(TorchaoWeights(WeightGrid(32, True, False)).observe(source_of(network, tmp_path)))
    first = observed.quantize({"first": 4, "second": 4})
    answer = float_logits(module_of(first))
    second = observed.quantize({"second": 8})
    assert set(second.grids) == {"second"}
    assert torch.equal(module_of(second).first.weight, network.first.weight)  # type: ignore[union-attr,arg-type]
    np.testing.assert_array_equal(float_logits(module_of(first)), answer)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_without_linear_layers_asked_for_has_no_grids(tmp_path: Path) -> None:
    assert not quantize(TinyNet(), tmp_path, {"stem.0": 8, "block.0": 4}).grids


def test_there_is_one_step_of_progress(tmp_path: Path) -> None:
    events, _ = events_and_result(TorchaoWeights(WeightGrid(0, True, False)).observe(source_of(TinyNet(), tmp_path)))
    assert [(event.done, event.total) for event in events if isinstance(event, Progress)] == [(1, 1)]


@pytest.mark.parametrize(
    ("grid", "bits", "reason"),
    [
        (WeightGrid(0, True, True), 8, None),
        (WeightGrid(32, False, False), 4, None),
        (WeightGrid(0, True, True), 4, "8 bits"),
        (WeightGrid(32, True, True), 8, "groups"),
        (WeightGrid(0, False, True), 8, "zero point"),
    ],
)
def test_refusals_give_the_reason(grid: WeightGrid, bits: int, reason: str | None) -> None:
    refused = why_refused(grid, BF16_CPU, bits=bits)
    assert (refused is None) if reason is None else reason in (refused or "")


def test_dynamic_int8_is_refused_on_a_gpu() -> None:
    gpu = Device("cuda:0", "cuda", "Test GPU", 1 << 34, compute_capability=(8, 0))
    assert "16 rows" in (why_refused(WeightGrid(0, True, True), gpu, bits=8) or "")
    assert why_refused(WeightGrid(32, True, False), gpu, bits=4) is None


def test_an_odd_number_of_inputs_in_4_bits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 7), nn.Linear(7, CLASSES))
    quantized = quantize(network, tmp_path, {"2": 4}, symmetric=False)
    expected = float_logits(twin(network, quantized.grids))
    np.testing.assert_allclose(float_logits(module_of(quantized)), expected, atol=1e-5)
