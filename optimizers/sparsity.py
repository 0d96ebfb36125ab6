"""Setting single weights of a network to zero. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_LAYERS = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


@dataclass(frozen=True)
class Selection:
    """Which weights become zero."""

    share: float
    everywhere_alike: bool
    """The same share of every layer; else one ranking over all layers."""
    keep_ends: bool
    """Leave the first and the last layer as they are."""


def sparsify(network: nn.Module, selection: Selection) -> nn.Module:
    """A copy on the CPU, in eval mode, whose smallest weights are zero: Han et al. 2015, arXiv:1506.02626."""
    pruned = copy.deepcopy(network).cpu().eval()
    weights = list(prunable(pruned, keep_ends=selection.keep_ends).values())
    for ranked_together in [[weight] for weight in weights] if selection.everywhere_alike else [weights]:
        _zero_the_smallest(ranked_together, selection.share)
    return pruned


def prunable(network: nn.Module, *, keep_ends: bool = False) -> dict[str, nn.Parameter]:
    """Weights of convolutions, linear layers and attention projections by name, in order; shared ones once.

    Biases, norms and embeddings are none of them. With `keep_ends` the first and the last are left out.
    """
    found: dict[nn.Parameter, str] = {}
    for prefix, layer in network.named_modules():
        if isinstance(layer, _LAYERS):
            for name, parameter in layer.named_parameters(prefix, recurse=False):
                # An attention layer also has weights: in_proj_weight, or q_, k_ and v_proj_weight.
                if name.endswith("weight"):
                    found.setdefault(parameter, name)
    weights = {name: parameter for parameter, name in found.items()}
    return dict(list(weights.items())[1:-1]) if keep_ends else weights


def count_zeros(network: nn.Module, *, keep_ends: bool = False) -> dict[str, int]:
    """How many values of each prunable weight are exactly zero."""
    return {name: int((weight == 0).sum()) for name, weight in prunable(network, keep_ends=keep_ends).items()}


@torch.no_grad()
def _zero_the_smallest(weights: Sequence[Tensor], share: float) -> None:
    if not weights:
        return
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    smallest = magnitudes.topk(round(share * len(magnitudes)), largest=False).indices
    gone = torch.zeros_like(magnitudes, dtype=torch.bool).index_fill_(0, smallest, True)
    for weight, part in zip(weights, torch.split(gone, [weight.numel() for weight in weights]), strict=True):
        weight.masked_fill_(part.view(weight.shape), 0)
