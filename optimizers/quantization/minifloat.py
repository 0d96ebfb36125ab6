"""Grids of small floating-point numbers: FP8 and FP4. Imports torch in its functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optimizers.quantization.quantizer import TensorGrid

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class FloatGrid(TensorGrid):
    """Scale x a floating-point number of a few bits; `low` and `high` are the smallest and the largest of these."""

    mantissa_bits: int = 3
    smallest_exponent: int = -6
    """Of normal numbers; below it the steps stay as they are."""


def e4m3(scale: NDArray[Any]) -> FloatGrid:
    """FP8 with 4 exponent bits, 3 mantissa bits and no infinity: ±448 (Micikevicius et al. 2022, arXiv:2209.05433)."""
    return FloatGrid(8, -448, 448, scale.astype(np.float32), np.zeros(scale.shape, np.int32))


def e2m1(scale: NDArray[Any]) -> FloatGrid:
    """FP4: 0, ±0.5, ±1, ±1.5, ±2, ±3, ±4 and ±6 times the scale (Open Compute Project, MX specification 1.0)."""
    zeros = np.zeros(scale.shape, np.int32)
    return FloatGrid(4, -6, 6, scale.astype(np.float32), zeros, mantissa_bits=1, smallest_exponent=0)


def nearest(values: Tensor, grid: FloatGrid) -> Tensor:
    """The nearest numbers of the grid at scale 1, ties to the even mantissa; what lies beyond the ends becomes them."""
    import torch

    exponents = torch.frexp(values.abs()).exponent - 1
    steps = torch.exp2((exponents.clamp_min(grid.smallest_exponent) - grid.mantissa_bits).to(values.dtype))
    return (torch.round(values / steps) * steps).clamp(grid.low, grid.high)
