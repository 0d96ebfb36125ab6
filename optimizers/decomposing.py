"""One weight as the product of two thinner ones. Imports torch: import it inside functions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from core.packed import Packed

Layer: TypeAlias = nn.Linear | nn.Conv2d

_SMALLEST = 1e-6
"""Directions with less than this share of the strongest one's energy count as that share: no division by zero."""


@dataclass(frozen=True, eq=False)
class Factors:
    """A weight[out, in] as U diag(s) V, the best approximation of each rank by its first singular values."""

    left: Tensor
    """float64 [out, R]: U."""
    singular: Tensor
    """float64 [R], descending."""
    right: Tensor
    """float64 [R, in]: V, with the whitening taken out again."""

    @property
    def spectrum(self) -> Packed:
        """The singular values relative to the largest."""
        largest = max(float(self.singular[0]), torch.finfo(torch.float64).tiny)
        return Packed.of((self.singular / largest).tolist(), "<u4", per_unit=1_000_000)

    def halves(self, rank: int) -> tuple[Tensor, Tensor]:
        """float32 [rank, in] and [out, rank]; each has the square roots of the singular values."""
        roots = self.singular[:rank].sqrt()
        first, second = roots[:, None] * self.right[:rank], self.left[:, :rank] * roots
        return first.float().contiguous(), second.float().contiguous()


def shrunk(moment: Tensor, *, samples: int) -> Tensor:
    """The moment[D, D] moved towards its mean diagonal, the further the fewer samples it rests on."""
    size, trace, square = len(moment), float(moment.trace()), float((moment * moment).sum())
    spread = square - trace**2 / size
    if spread <= 0:
        return moment
    share = ((1 - 2 / size) * square + trace**2) / ((samples + 1 - 2 / size) * spread)
    share = min(1.0, share)
    identity = torch.eye(size, dtype=moment.dtype)
    return (1 - share) * moment + share * trace / size * identity


def decompose(weight: Tensor, moment: Tensor | None = None) -> Factors:
    """The singular value decomposition of a weight[out, in], or of weight x moment^(1/2), unwhitened.

    What is cut off a whitened weight is the expected squared error of the output: E|(W - W') v|^2 =
    |(W - W') E[v v^T]^(1/2)|^2 (Frobenius), which no other W' of that rank undercuts (Eckart and Young 1936,
    https://doi.org/10.1007/BF02288367; used so by SVD-LLM, https://arxiv.org/abs/2403.07378).
    """
    matrix = weight.double()
    if moment is None:
        return Factors(*torch.linalg.svd(matrix, full_matrices=False))
    values, vectors = torch.linalg.eigh(moment)
    values = values.clamp_min(max(_SMALLEST * float(values[-1]), torch.finfo(values.dtype).tiny))
    left, singular, right = torch.linalg.svd((matrix @ vectors) * values.sqrt(), full_matrices=False)
    return Factors(left, singular, right * values.rsqrt() @ vectors.T)


def pair_of(layer: Layer, factors: Factors, rank: int) -> nn.Sequential:
    """Two layers in a row that stand for one: `0` down to the rank, `1` up again and with the bias.

    A convolution's stride goes to the first: a 1x1 kernel reads single positions, so those that a stride skips need
    not be multiplied at all. Padding goes there too, since zeros stay zeros without a bias.
    """
    pair = _empty_pair(layer, rank)
    with torch.no_grad():
        for new, values in zip(pair, factors.halves(rank), strict=True):
            new.weight.copy_(values.reshape(new.weight.shape))
        if layer.bias is not None:
            pair[1].bias.copy_(layer.bias)
    return nn.Sequential(*pair).eval()


def _empty_pair(layer: Layer, rank: int) -> tuple[Any, Any]:
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=has_bias)
    look: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding}
    down = nn.Conv2d(layer.in_channels, rank, 1, bias=False, **look)
    return down, nn.Conv2d(rank, layer.out_channels, 1, bias=has_bias)
