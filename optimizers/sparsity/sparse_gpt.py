"""SparseGPT: which weights to remove, and how the others make up for them. Imports torch.

Frantar and Alistarh 2023, https://arxiv.org/abs/2301.00774. A layer's squared output error is quadratic in its weights,
with the second moment of its inputs as the Hessian. Columns are visited in order; a weight that goes leaves an error
that the weights to its right take up, as Optimal Brain Surgeon has it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

DAMPENING = 0.01
"""Added to the Hessian's diagonal, as a share of its mean: the paper's."""

_COLUMNS_AT_ONCE = 128
"""Columns whose errors are passed on together: only for speed."""
_MOST_VALUES = 20_000_000
"""Of unfolded inputs that are held at once: 80 MB."""


def hessian_of(layer: nn.Module, x: Tensor) -> Tensor:
    """float64 [columns, columns]: the mean of a a^T over all positions a that a layer's weights meet in its input x.

    Columns lie as in `fours.columns_of`: for each kernel position its input channels.
    """
    images_at_once = max(1, _MOST_VALUES // _met(layer, x[:1]).numel())
    total, count = torch.zeros((), dtype=torch.float64, device=x.device), 0
    for part in torch.split(x, images_at_once):
        rows = _met(layer, part)
        total, count = total + (rows.T @ rows).double(), count + len(rows)
    return total / count


def _met(layer: nn.Module, x: Tensor) -> Tensor:
    """float32 [positions, columns]: what the rows of a layer's weight are multiplied by, for its input x."""
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(-1, x.shape[-1]).float()
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = pad(x.float(), layer._reversed_padding_repeated_twice, mode=mode)
    patches = unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    by_channel = patches.reshape(len(x), layer.in_channels, -1, patches.shape[-1])
    return by_channel.permute(0, 3, 2, 1).reshape(-1, patches.shape[1])


def pruned_by_error(weight: Tensor, hessian: Tensor) -> Tensor:
    """The weight[outputs, columns] with two of every four neighbouring columns zero in each row, the others adjusted.

    Those go that cost least: w^2 / d^2, with d the diagonal of the inverse Hessian's Cholesky factor.
    """
    left, factor = weight.double().clone(), _factor(hessian)
    for start in range(0, left.shape[1], _COLUMNS_AT_ONCE):
        stop = min(start + _COLUMNS_AT_ONCE, left.shape[1])
        errors = _prune_columns(left[:, start:stop], factor[start:stop, start:stop])
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return left.to(weight.dtype)


def _prune_columns(weight: Tensor, factor: Tensor) -> Tensor:
    """Prune these columns in place; what each row leaves behind at each column, in units of the diagonal."""
    diagonal, errors = factor.diagonal(), torch.zeros_like(weight)
    gone = torch.zeros_like(weight, dtype=torch.bool)
    for column in range(weight.shape[1]):
        if column % 4 == 0:
            four = slice(column, column + 4)
            cheapest = (weight[:, four] / diagonal[four]).square().topk(2, dim=1, largest=False).indices
            gone[:, four] = gone[:, four].scatter(1, cheapest, True)
        errors[:, column] = weight[:, column].where(gone[:, column], 0) / diagonal[column]
        weight[:, column:] -= errors[:, column, None] * factor[column, column:]
    weight.masked_fill_(gone, 0)
    return errors


def _factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the dampened Hessian's inverse.

    Its row j is what eliminating column j needs, once the columns before it are fixed.
    """
    damped = hessian.clone()
    damped.diagonal().add_(DAMPENING * hessian.diagonal().mean().clamp_min(torch.finfo(hessian.dtype).tiny))
    factor: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    return factor
