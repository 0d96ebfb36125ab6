"""The 2:4 pattern: of any four neighbouring weights along the inputs, two are zero. Imports torch.

Neighbours are the input channels of one kernel position, which is how sparse tensor cores read them: Mishra et al.
2021, *Accelerating Sparse Deep Neural Networks*, https://arxiv.org/abs/2104.08378.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.quantization.selection import kind_of
from optimizers.quantization.twin import outputs_of
from optimizers.sparsity.sparse_gpt import hessian_of, pruned_by_error

_MOST_VALUES = 100_000_000
"""Of one layer's inputs or outputs that are held at once: 400 MB."""


def columns_of(weight: Tensor) -> Tensor:
    """[outputs, columns] of a weight[outputs, inputs, *kernel]: the inputs of each kernel position side by side."""
    return weight.movedim(1, -1).reshape(len(weight), -1)


def weight_of(columns: Tensor, shape: Sequence[int]) -> Tensor:
    """The weight of that shape whose `columns_of` are these."""
    outputs, inputs, *kernel = shape
    return columns.reshape(outputs, *kernel, inputs).movedim(-1, 1)


def lowest_two(scores: Tensor) -> Tensor:
    """bool [outputs, columns]: True at the two lowest of every four neighbouring columns."""
    fours = scores.reshape(len(scores), -1, 4)
    lowest = fours.topk(2, largest=False).indices
    return torch.zeros_like(fours, dtype=torch.bool).scatter_(2, lowest, True).view_as(scores)


def count_blocks(layer: nn.Module, weight: Tensor) -> tuple[int, int]:
    """Runs of four weights along the inputs, and those with at least two zeros; none where inputs make no fours."""
    if getattr(layer, "groups", 1) > 1 or weight.shape[1] % 4:
        return 0, 0
    zeros = (columns_of(weight).reshape(-1, 4) == 0).sum(1)
    return len(zeros), int((zeros >= 2).sum())


def why_dense(layers: Mapping[str, nn.Module], kept: Mapping[str, str]) -> dict[str, str]:
    """The layers that cannot have the pattern, or that `kept` names with its pattern, each with one sentence."""
    reasons: dict[str, str] = {}
    owners: dict[int, str] = {}
    for name, layer in layers.items():
        weight: Any = layer.weight
        inputs, groups = weight.shape[1], getattr(layer, "groups", 1)
        if name in kept:
            reasons[name] = f"Kept dense, as {kept[name]} asks."
        elif not isinstance(layer, nn.Conv2d | nn.Linear):
            reasons[name] = f"A {kind_of(layer)}: sparse tensor cores serve linear layers and 2-D convolutions."
        elif groups > 1:
            reasons[name] = f"Its inputs come in {groups} groups, which sparse tensor cores do not serve."
        elif inputs % 4:
            reasons[name] = f"It reads {inputs} {'channel' if inputs == 1 else 'channels'}, which make no fours."
        elif id(weight) in owners:
            reasons[name] = f"It shares its weight with {owners[id(weight)]}."
        owners.setdefault(id(weight), name)
    return reasons


def with_pattern(network: nn.Module, names: Collection[str], x: Tensor, *, by_error: bool) -> nn.Module:
    """A copy whose named layers have the pattern, made while x[N, C, H, W] passes.

    Each layer is pruned when it is reached, on what the pruned layers before it give: by magnitude, or `by_error` with
    SparseGPT, which also moves the weights that stay.
    """
    sparse, done = copy.deepcopy(network), set[str]()

    def prunes(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(layer: nn.Module, args: tuple[Any, ...]) -> None:
            if name not in done:
                done.add(name)
                _prune(layer, args[0], by_error=by_error)

        return hook

    handles = [sparse.get_submodule(name).register_forward_pre_hook(prunes(name)) for name in names]
    with torch.inference_mode():
        sparse(x)
    for handle in handles:
        handle.remove()
    return sparse


def _prune(layer: nn.Module, x: Tensor, *, by_error: bool) -> None:
    weight: Any = layer.weight
    columns = columns_of(weight.detach())
    if by_error:
        columns = pruned_by_error(columns, hessian_of(layer, x))
    else:
        columns = columns.masked_fill(lowest_two(columns.abs()), 0)
    with torch.no_grad():
        weight.copy_(weight_of(columns, weight.shape))


def affordable(network: nn.Module, names: tuple[str, ...], x: Tensor) -> int:
    """How many of x[N, C, H, W] can pass at once while the largest of the layers' inputs and outputs is held."""
    inputs, outputs = outputs_of(network, names, x[:1])
    largest = max(value.numel() for values in (inputs, outputs) for value in values.values())
    return max(1, min(len(x), _MOST_VALUES // largest))
