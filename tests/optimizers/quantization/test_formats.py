from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from optimizers.quantization.formats import (
    fake_quantize,
    group_size_of,
    grouped,
    integer_ends,
    integer_grid,
    round_e2m1,
    round_fp8,
    round_nvfp4,
    snr_db,
    ungrouped,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "expected"),
    [
        (8, True, False, (-128, 127)),
        (8, True, True, (-127, 127)),
        (8, False, False, (0, 255)),
        (4, True, False, (-8, 7)),
        (2, True, True, (-1, 1)),
    ],
)
def test_integers_have_their_ends(bits: int, signed: bool, narrow: bool, expected: tuple[int, int]) -> None:
    assert integer_ends(bits=bits, signed=signed, narrow=narrow) == expected


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_an_asymmetric_grid_covers_the_range_and_contains_zero(bits: int, signed: bool) -> None:
    low, high = torch.tensor([-1.5, 0.25, -3.0]), torch.tensor([2.5, 4.0, -1.0])
    scale, zero_point = integer_grid(low, high, bits=bits, symmetric=False, signed=signed)
    first, last = integer_ends(bits=bits, signed=signed)
    for channel, (start, end) in enumerate([(-1.5, 2.5), (0.0, 4.0), (-3.0, 0.0)]):
        step = (end - start) / (2**bits - 1)
        assert scale[channel].item() == pytest.approx(step)
        assert zero_point[channel].item() == round(first - start / step)
        assert first <= zero_point[channel].item() <= last


@pytest.mark.parametrize(("signed", "expected_zero"), [(True, 0), (False, 8)])
def test_a_symmetric_grid_has_its_zero_in_the_middle(signed: bool, expected_zero: int) -> None:
    low, high = torch.tensor([[-1.4, 0.0]]), torch.tensor([[0.7, 2.8]])
    scale, zero_point = integer_grid(low, high, bits=4, symmetric=True, signed=signed)
    torch.testing.assert_close(scale, torch.tensor([[0.2, 0.4]]))
    assert zero_point.tolist() == [[expected_zero, expected_zero]]


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_tensor_of_zeros_has_the_scale_one(symmetric: bool) -> None:
    zero = torch.tensor(0.0)
    scale, zero_point = integer_grid(zero, zero, bits=8, symmetric=symmetric, signed=True)
    assert scale.item() == 1
    moved = fake_quantize(torch.zeros(3), scale, zero_point, low=-128, high=127, axis=None)
    assert moved.tolist() == [0, 0, 0]


def by_formula(
    x: NDArray[np.float32], scale: NDArray[np.float32], zero: NDArray[np.int32], low: int, high: int
) -> NDArray[np.float32]:
    values: NDArray[np.float32] = (np.clip(np.rint(x / scale) + zero, low, high) - zero) * scale
    return values


@pytest.mark.parametrize("zero", [0, 3])
def test_rounding_follows_the_formula_with_halves_to_even(zero: int) -> None:
    x = np.arange(-40, 41, dtype=np.float32) / 8  # eighths: every tie of a step of 1/4 is among them
    scale, zero_point = np.float32(0.25), np.int32(zero)
    moved = fake_quantize(torch.from_numpy(x), torch.tensor(scale), torch.tensor(zero_point), low=-8, high=7, axis=None)
    np.testing.assert_array_equal(moved.numpy(), by_formula(x, scale, zero_point, -8, 7))  # type: ignore[arg-type]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_channels_have_their_own_steps(axis: int) -> None:
    x = normal(4, 4, 4)
    scale = torch.tensor([0.5, 0.25, 0.125, 1.0])
    zero_point = torch.tensor([0, 1, -2, 3], dtype=torch.int32)
    moved = fake_quantize(x, scale, zero_point, low=-8, high=7, axis=axis)
    shape = [1, 1, 1]
    shape[axis] = 4
    expected = by_formula(x.numpy(), scale.numpy().reshape(shape), zero_point.numpy().reshape(shape), -8, 7)
    np.testing.assert_array_equal(moved.numpy(), expected)


@pytest.mark.parametrize("shape", [(3, 40), (3, 4, 3, 3), (3, 16)])
def test_groups_have_their_own_steps_along_the_inputs(shape: tuple[int, ...]) -> None:
    x, size = normal(*shape), 16
    flat = x.reshape(3, -1).numpy()
    groups = -(-flat.shape[1] // size)
    scale = np.float32(2.0) ** -np.arange(1, 3 * groups + 1, dtype=np.float32).reshape(3, groups)
    zero_point = np.arange(3 * groups, dtype=np.int32).reshape(3, groups) % 4
    moved = fake_quantize(x, torch.from_numpy(scale), torch.from_numpy(zero_point), low=-8, high=7, axis=0)
    for channel in range(3):
        for each in range(groups):
            part = slice(each * size, (each + 1) * size)
            expected = by_formula(flat[channel, part], scale[channel, each], zero_point[channel, each], -8, 7)
            np.testing.assert_array_equal(moved.reshape(3, -1)[channel, part].numpy(), expected)


@pytest.mark.parametrize("scale", [torch.tensor(0.5), torch.full((2,), 0.5), torch.full((2, 2), 0.5)])
def test_the_gradient_passes_rounding_but_not_clamping(scale: torch.Tensor) -> None:
    x = torch.full((2, 32), 0.3)
    x[0, 0], x[1, 31] = 100.0, -100.0
    x.requires_grad_()
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    fake_quantize(x, scale, zero_point, low=-8, high=7, axis=0).sum().backward()
    expected = torch.ones(2, 32)
    expected[0, 0] = expected[1, 31] = 0
    assert x.grad is not None
    assert torch.equal(x.grad, expected)


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("width", [16, 27, 130, 576])
def test_groups_come_apart_and_together_again(width: int, size: int) -> None:
    x = normal(2, width)
    groups = grouped(x, size)
    assert groups.shape == (2, math.ceil(width / size), size)
    assert torch.equal(ungrouped(groups, x), x)
    assert group_size_of(width, groups.shape[1]) == size or groups.shape[1] == 1


def test_fp8_is_rounded_as_another_library_rounds_it() -> None:
    every = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    finite = np.sort(every[np.isfinite(every)])
    between = (finite[1:] + finite[:-1]) / 2
    x = np.concatenate([finite, between, normal(5000).numpy() * 100]).astype(np.float32)
    scale = 0.5
    expected = np.clip(x / scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale
    np.testing.assert_array_equal(round_fp8(torch.from_numpy(x), torch.tensor(scale)).numpy(), expected)


def test_fp8_saturates_instead_of_overflowing() -> None:
    assert round_fp8(torch.tensor([1e6, -1e6]), torch.tensor(2.0)).tolist() == [896, -896]


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def test_e2m1_is_rounded_as_another_library_rounds_it() -> None:
    ties = (E2M1[1:] + E2M1[:-1]) / 2
    x = np.concatenate([E2M1, -E2M1, ties, -ties, 2 * normal(5000).numpy()]).astype(np.float32)
    clipped = np.clip(x, -6, 6)
    expected = clipped.astype(ml_dtypes.float4_e2m1fn).astype(np.float32)
    np.testing.assert_array_equal(round_e2m1(torch.from_numpy(x)).numpy(), expected)


def nvfp4_by_hand(row: NDArray[np.float32], largest: float) -> NDArray[np.float32]:
    """One row, block after block, the nearest value by brute force: ties aside, which random numbers do not hit."""
    table = np.concatenate([-E2M1[:0:-1], E2M1]).astype(np.float32)
    tensor_scale = np.float32(largest) / np.float32(448 * 6)
    done = []
    for start in range(0, len(row), 16):
        block = row[start : start + 16]
        stored = np.minimum(np.abs(block).max() / np.float32(6) / tensor_scale, np.float32(448))
        scale = np.float32(stored.astype(ml_dtypes.float8_e4m3fn)) * tensor_scale
        done += [table[np.abs(table * scale - value).argmin()] * scale for value in block]
    return np.array(done, np.float32)


def test_nvfp4_takes_the_nearest_value_of_each_block() -> None:
    x = normal(4, 40) * torch.tensor([[0.01], [1.0], [30.0], [0.3]])
    moved = round_nvfp4(x).numpy()
    largest = float(x.abs().max())
    for row, expected in zip(moved, x.numpy(), strict=True):
        np.testing.assert_allclose(row, nvfp4_by_hand(expected, largest), rtol=1e-5, atol=1e-8)


def test_nvfp4_runs_along_the_chosen_axis_with_a_range_seen_before() -> None:
    x = normal(2, 32, 3, 3)
    moved = round_nvfp4(x, axis=1, largest=torch.tensor(2.0))
    expected = nvfp4_by_hand(x[1, :, 2, 0].numpy(), 2.0)
    np.testing.assert_allclose(moved[1, :, 2, 0].numpy(), expected, rtol=1e-5, atol=1e-8)


def test_nvfp4_leaves_zeros_and_tiny_blocks_at_zero() -> None:
    assert not round_nvfp4(torch.zeros(2, 16)).any()
    x = torch.zeros(1, 32)
    x[0, 0], x[0, 16] = 1.0, 1e-9  # the second block's scale is below the smallest E4M3
    assert round_nvfp4(x)[0, 16] == 0


def test_nvfp4_agrees_with_torchao() -> None:
    kernels = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    x = normal(8, 64)
    scale = kernels.per_tensor_amax_to_scale(x.abs().max())
    block_scales, packed = kernels.nvfp4_quantize(x, per_tensor_scale=scale)
    codes = torch.stack([packed & 15, packed >> 4], -1).flatten(-2).numpy()
    values = codes.astype(np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    expected = values * np.repeat(block_scales.float().reshape(8, -1).numpy(), 16, axis=1) * scale.numpy()
    np.testing.assert_allclose(round_nvfp4(x).numpy(), expected, rtol=1e-5, atol=1e-8)


def test_the_signal_to_noise_ratio_is_in_decibels() -> None:
    x = torch.tensor([3.0, 4.0])
    assert snr_db(x, x + torch.tensor([0.3, 0.4])) == pytest.approx(20, abs=1e-4)
    assert snr_db(x, x) == 120
    assert snr_db(torch.zeros(2), torch.ones(2)) == -120


def test_every_bit_is_worth_six_decibels() -> None:
    x = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = []
    for bits in (4, 5, 6):
        scale, zero_point = integer_grid(x.min(), x.max(), bits=bits, symmetric=False, signed=True)
        low, high = integer_ends(bits=bits, signed=True)
        found.append(snr_db(x, fake_quantize(x, scale, zero_point, low=low, high=high, axis=None)))
    assert np.diff(found) == pytest.approx([6.02, 6.02], abs=0.5)
