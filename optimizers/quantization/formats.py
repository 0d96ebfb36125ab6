"""Numbers in few bits: integers on a grid, E4M3 and NVFP4. Imports torch: import it inside functions only."""

from __future__ import annotations

from math import log10

import torch
from torch import Tensor

LARGEST_E4M3 = 448.0
LARGEST_E2M1 = 6.0
NVFP4_BLOCK = 16

_LARGEST_SNR_DB = 120.0
"""Beyond float32's own precision: nothing was rounded."""


def integer_ends(*, bits: int, signed: bool, narrow: bool = False) -> tuple[int, int]:
    """The smallest and the largest integer; `narrow` leaves the smallest out, so that -127 faces 127."""
    low = -(2 ** (bits - 1)) if signed else 0
    return low + narrow, low + 2**bits - 1


def integer_grid(
    low: Tensor, high: Tensor, *, bits: int, symmetric: bool, signed: bool, narrow: bool = False
) -> tuple[Tensor, Tensor]:
    """float32 scale and int32 zero point for values between low and high, both shaped like these: [], [C] or [C, G].

    The range is widened to contain 0, which is then represented exactly (Jacob et al. 2017, section 2.1,
    https://arxiv.org/abs/1712.05877). Symmetric: the zero point lies in the middle of the integers. Where all values
    are 0 the scale is 1.
    """
    first, last = integer_ends(bits=bits, signed=signed, narrow=narrow)
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    if symmetric:
        scale = _without_zeros(torch.maximum(-low, high) / (2 ** (bits - 1) - 1))
        return scale, torch.full_like(scale, 0 if signed else 2 ** (bits - 1), dtype=torch.int32)
    scale = _without_zeros((high - low) / (last - first))
    return scale, torch.round(first - low / scale).clamp(first, last).to(torch.int32)


def _without_zeros(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, *, low: int, high: int, axis: int | None) -> Tensor:
    """x moved to scale x (clamp(round(x / scale) + zero point) - zero point), halves rounded to even.

    Scales [C] run along `axis`; scales [C, G] along dimension 0 and, in `grouped` form, along what remains. The
    gradient passes unchanged where nothing was clamped and is 0 elsewhere.
    """
    zero_point = zero_point.to(torch.int32)
    if scale.ndim == 0:
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, low, high)
    if scale.ndim == 1:
        along = 0 if axis is None else axis % x.ndim
        moved: Tensor = torch.fake_quantize_per_channel_affine(x, scale, zero_point, along, low, high)
        return moved
    groups = grouped(x, group_size_of(x[0].numel(), scale.shape[1]))
    flat = groups.reshape(-1, groups.shape[-1])
    flat = torch.fake_quantize_per_channel_affine(flat, scale.flatten(), zero_point.flatten(), 0, low, high)
    return ungrouped(flat.reshape(groups.shape), x)


def grouped(x: Tensor, size: int) -> Tensor:
    """x[C, ...] as [C, G, size], each channel's values in their order, the last group filled up with zeros."""
    flat = x.reshape(len(x), -1)
    return torch.nn.functional.pad(flat, (0, -flat.shape[1] % size)).reshape(len(x), -1, size)


def ungrouped(groups: Tensor, like: Tensor) -> Tensor:
    """What `grouped` took apart, in the shape of the tensor that it was."""
    return groups.reshape(len(like), -1)[:, : like[0].numel()].reshape(like.shape)


def group_size_of(width: int, groups: int) -> int:
    """The smallest power of two of which so many groups hold `width` values; else what shares them out evenly."""
    powers = (2**exponent for exponent in range(width.bit_length() + 1))
    return next((size for size in powers if -(-width // size) == groups), -(-width // groups))


def round_fp8(x: Tensor, scale: Tensor) -> Tensor:
    """x rounded to scale x E4M3 (4 bits of exponent, 3 of mantissa), beyond 448 x scale clamped to it.

    `scale` is broadcast to x. Halves go to the even mantissa. Micikevicius et al. 2022,
    https://arxiv.org/abs/2209.05433.
    """
    return _as_e4m3(x / scale).to(x.dtype) * scale


def _as_e4m3(x: Tensor) -> Tensor:
    return x.clamp(-LARGEST_E4M3, LARGEST_E4M3).to(torch.float8_e4m3fn)


def round_nvfp4(x: Tensor, *, axis: int = -1, largest: Tensor | None = None) -> Tensor:
    """x rounded to NVFP4: E2M1 values, an E4M3 scale for every 16 of them along `axis`, a float32 scale for all.

    The tensor's scale maps `largest`, by default its largest magnitude, to 448 x 6; a block's scale maps its own
    largest to 6 (NVIDIA 2025, https://arxiv.org/abs/2509.25149, appendix C). A last block may hold fewer than 16.
    """
    moved = x.movedim(axis, -1)
    width = moved.shape[-1]
    blocks = torch.nn.functional.pad(moved, (0, -width % NVFP4_BLOCK)).reshape(*moved.shape[:-1], -1, NVFP4_BLOCK)
    tensor_scale = _without_zeros((x.abs().max() if largest is None else largest) / (LARGEST_E4M3 * LARGEST_E2M1))
    block_scale = _as_e4m3(blocks.abs().amax(-1, keepdim=True) / LARGEST_E2M1 / tensor_scale).to(x.dtype)
    scale = block_scale * tensor_scale
    rounded = round_e2m1(blocks / _without_zeros(scale)) * scale  # a block whose scale vanishes becomes 0
    return rounded.flatten(-2)[..., :width].movedim(-1, axis)


def round_e2m1(x: Tensor) -> Tensor:
    """x rounded to 0, 0.5, 1, 1.5, 2, 3, 4 or 6 of either sign; halves go to the even mantissa, 6 is the end."""
    size = x.abs().clamp(max=LARGEST_E2M1)
    step = 0.5 + 0.5 * (size >= 2) + (size >= 4)
    return torch.round(size / step) * step * torch.sign(x)


def snr_db(x: Tensor, rounded: Tensor) -> float:
    """10 log10 of the power of x over the power of the error, between -120 and 120 dB."""
    error = float((rounded - x).double().square().sum())
    power = float(x.double().square().sum())
    if not error or not power:
        return -_LARGEST_SNR_DB if error else _LARGEST_SNR_DB
    return min(max(10 * log10(power / error), -_LARGEST_SNR_DB), _LARGEST_SNR_DB)
