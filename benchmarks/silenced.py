"""What a cut network should compute, found without asking the code that cut it.

The channels that are left are recognised by their weights alone: every kept weight is a number that stood somewhere in
the original. The original is then given zeros for all other weights, and normalises only what is left.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Places = NDArray[np.int64]
_WITNESSES = 32
"""How many columns of a row, or rows of a column, are looked up to recognise it."""


def make_unlike(network: nn.Module) -> None:
    """Give every vector and statistic of an untrained network values of its own, so that no two channels are alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point() and tensor.numel() > 1 and (tensor.dim() == 1 or tensor.std() == 0):
                tensor.add_(0.1 + 0.4 * torch.rand(tensor.shape, generator=generator))


def silenced(original: nn.Module, cut: nn.Module) -> nn.Module:
    """A copy of the original that ignores every channel that the cut network, named alike, does not have.

    Raises `ValueError` where a layer of the cut network is not part of the original's.
    """
    network, narrower = copy.deepcopy(original).eval(), dict(cut.named_modules())
    for name, layer in list(network.named_modules()):
        weight, kept = getattr(layer, "weight", None), getattr(narrower[name], "weight", None)
        if isinstance(weight, Tensor) and isinstance(kept, Tensor) and weight.shape != kept.shape:
            if weight.dim() > 1:
                _silence(name, layer, kept.detach())
            elif not isinstance(layer, nn.modules.batchnorm._BatchNorm):
                _leave_out(name, layer, narrower[name])
    return network


def _silence(name: str, layer: Any, kept: Tensor) -> None:
    whole = layer.weight.detach()
    rows, columns = _origin(name, _matrix(whole), _matrix(kept), getattr(layer, "groups", 1))
    if whole.shape[1] == 1:
        columns = [np.zeros(1, int)] * len(rows)
    mask = torch.zeros(whole.shape[:2])
    for row, those in zip(rows, columns, strict=True):
        mask[int(row), torch.from_numpy(those)] = 1
    with torch.no_grad():
        layer.weight.mul_(mask.reshape(*mask.shape, *(1 for _ in whole.shape[2:])))
        if layer.bias is not None:
            layer.bias.mul_(mask.any(1))


def _matrix(weight: Tensor) -> NDArray[np.float32]:
    """The first tap of every kernel[O, I, ...], or all taps where there is one input."""
    values: NDArray[np.float32] = weight.reshape(*weight.shape[:2], -1).numpy()
    return values[:, 0] if weight.shape[1] == 1 else values[..., 0]


def _origin(
    name: str, whole: NDArray[np.float32], kept: NDArray[np.float32], groups: int
) -> tuple[Places, list[Places]]:
    """Which rows of whole[O, I] the rows of kept[O', I'] are, and for each its columns."""
    rows = _rows(whole, kept)
    known = rows >= 0
    group_of, found = rows * groups // len(whole), {}
    for group in np.unique(group_of[known]):
        those = np.flatnonzero(known & (group_of == group))
        found[group] = _rows(whole[rows[those]].T, kept[those].T)
    if not known.all():
        # Queries were scaled to make up for narrower heads: they are recognised by their direction.
        common = found[0]
        directions = [matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in (whole[:, common], kept)]
        alike = directions[1] @ directions[0].T
        rows = np.where(alike.max(1) > 1 - 1e-4, alike.argmax(1), -1)
        group_of = np.zeros_like(rows)
    if (rows < 0).any() or len(set(rows)) < len(rows) or any((columns < 0).any() for columns in found.values()):
        raise ValueError(f"{name} is not a part of the original layer")
    return rows, [found[group] for group in group_of]


def _rows(whole: NDArray[np.float32], kept: NDArray[np.float32]) -> Places:
    """Which row of whole[O, I] holds the values of each row of kept[O', I']; -1 where most are found in none."""
    width, witnesses = whole.shape[1], kept[:, :: max(1, kept.shape[1] // _WITNESSES)][:, :_WITNESSES]
    order = np.argsort(whole, axis=None)
    values = whole.ravel()[order]
    first, last = (np.searchsorted(values, witnesses.ravel(), side) for side in ("left", "right"))
    counts = last - first
    of_row = np.repeat(np.arange(witnesses.size) // witnesses.shape[1], counts)
    places = np.repeat(first, counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    pairs, votes = np.unique(of_row * len(whole) + order[places] // width, return_counts=True)
    found, most = np.full(len(kept), -1), np.zeros(len(kept), int)
    for pair, vote in zip(pairs, votes, strict=True):
        row = pair // len(whole)
        if vote > most[row] and 2 * vote > witnesses.shape[1]:
            found[row], most[row] = pair % len(whole), vote
    return found


def _leave_out(name: str, norm: Any, narrower: Any) -> None:
    """Let a normalisation give zeros for channels that are gone, and take mean and spread of the others alone."""
    alike = norm.weight.detach()[None] == narrower.weight.detach()[:, None]
    if not (alike.sum(1) == 1).all():
        raise ValueError(f"{name} is not a part of the original layer")
    kept, count = alike.int().argmax(1), len(norm.weight)

    def forward(x: Tensor) -> Tensor:
        is_first = isinstance(norm, nn.GroupNorm) or "2d" in type(norm).__name__ or x.shape[-1] != count
        axis = 1 if is_first else -1
        return torch.zeros_like(x).index_copy(axis, kept, narrower(x.index_select(axis, kept)))

    norm.forward = forward
