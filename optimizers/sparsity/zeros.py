"""Setting single weights of a network to zero. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optimizers.quantization.selection import KINDS

_LAYERS = (*KINDS, nn.MultiheadAttention)


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
    weights = prunable(pruned, keep_ends=selection.keep_ends)
    gone = lowest({name: weight.detach().abs() for name, weight in weights.items()}, selection)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.masked_fill_(gone[name], 0)
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


def lowest(scores: Mapping[str, Tensor], selection: Selection) -> dict[str, Tensor]:
    """bool masks by name, True where the share with the lowest scores is: of each tensor, or of all together."""
    together = [[name] for name in scores] if selection.everywhere_alike else [list(scores)]
    gone: dict[str, Tensor] = {}
    for names in together if scores else []:
        masks = _lowest_of([scores[name] for name in names], selection.share)
        gone |= dict(zip(names, masks, strict=True))
    return gone


def _lowest_of(scores: Sequence[Tensor], share: float) -> list[Tensor]:
    ranked = torch.cat([score.flatten() for score in scores])
    smallest = ranked.topk(round(share * len(ranked)), largest=False).indices
    gone = torch.zeros_like(ranked, dtype=torch.bool).index_fill_(0, smallest, True)
    parts = torch.split(gone, [score.numel() for score in scores])
    return [part.view(score.shape) for part, score in zip(parts, scores, strict=True)]
