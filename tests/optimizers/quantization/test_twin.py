from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from optimizers.quantization.quantizer import LayerGrid, TensorGrid
from optimizers.quantization.twin import outputs_of, rounded, twin
from tests.optimizers.quantization.plain import input_grid, weight_grid

RANDOM = np.random.default_rng(0)


def by_formula(values: np.ndarray, scale: np.ndarray, zero: np.ndarray, grid: TensorGrid) -> np.ndarray:
    integers = np.clip(np.round(values / scale) + zero, grid.low, grid.high)
    return (integers - zero) * scale


def test_one_scale_for_all_follows_the_formula_and_clips() -> None:
    values = RANDOM.normal(size=(5, 7)).astype(np.float32)
    grid = TensorGrid(8, 0, 255, np.float32(0.01), np.int32(100))  # type: ignore[arg-type]
    expected = by_formula(values, np.float32(0.01), np.int32(100), grid)  # type: ignore[arg-type]
    np.testing.assert_allclose(rounded(torch.from_numpy(values), grid).numpy(), expected, rtol=1e-6)
    assert expected.min() == pytest.approx(-1), "what lies beyond the grid is clipped"


def test_a_scale_per_channel_runs_along_the_outputs() -> None:
    weight = RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32)
    grid = weight_grid(weight)
    expected = np.stack([by_formula(row, s, np.int32(0), grid) for row, s in zip(weight, grid.scale, strict=True)])  # type: ignore[arg-type]
    np.testing.assert_allclose(rounded(torch.from_numpy(weight), grid).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("width", "size"), [(64, 32), (96, 64), (10, 16)])
def test_groups_divide_the_inputs_of_each_channel(width: int, size: int) -> None:
    weight = RANDOM.normal(size=(3, width)).astype(np.float32)
    groups = -(-width // size)
    scale = RANDOM.uniform(0.1, 0.3, size=(3, groups)).astype(np.float32)
    zero = RANDOM.integers(-3, 3, size=(3, groups)).astype(np.int32)
    grid = TensorGrid(4, -8, 7, scale, zero)
    actual = rounded(torch.from_numpy(weight), grid).numpy()
    for group in range(groups):
        part = slice(group * size, (group + 1) * size)
        expected = by_formula(weight[:, part], scale[:, group, None], zero[:, group, None], grid)
        np.testing.assert_allclose(actual[:, part], expected, rtol=1e-5, atol=1e-6)


def test_a_twin_rounds_the_weights_and_what_comes_in() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(8, 6)
    weight = network[0].weight.detach().numpy()
    grids = {"0": LayerGrid(weight_grid(weight), input_grid(x.numpy()))}
    given = input_grid(x.numpy())
    came_in = by_formula(x.numpy(), given.scale, given.zero_point, given)
    row_scale = grids["0"].weight.scale[:, None]
    product = came_in @ by_formula(weight, row_scale, np.int32(0), grids["0"].weight).T  # type: ignore[arg-type]
    product += network[0].bias.detach().numpy()
    expected = network[2](torch.from_numpy(np.maximum(product, 0).astype(np.float32)))
    torch.testing.assert_close(twin(network, grids)(x), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(network[0].weight, torch.from_numpy(weight))


def test_inputs_and_outputs_are_those_of_the_first_call() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(2, 3)
    inputs, outputs = outputs_of(network, ("0",), x)
    assert torch.equal(inputs["0"], x)
    assert torch.equal(outputs["0"], network[0](x))
    assert not network[0]._forward_hooks
