"""BatchNorm merged into the layer before it. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_TOLERANCE = 1e-3


def folded(module: nn.Module, x: Tensor) -> tuple[nn.Module, frozenset[str]]:
    """A copy on the CPU, in eval mode, with BatchNorms merged into the layers before them, and the names of these.

    Which layer feeds which BatchNorm is seen on x[N, C, H, W]. Where merging would change what the network answers,
    because a layer's output also goes elsewhere, nothing is merged and no name is given.
    """
    network = copy.deepcopy(module).cpu().eval()
    merged = copy.deepcopy(network)
    pairs = batchnorms_after(merged, x)
    for layer, norm in pairs.items():
        is_linear = isinstance(merged.get_submodule(layer), nn.Linear)
        fuse: Callable[[Any, Any], nn.Module] = fuse_linear_bn_eval if is_linear else fuse_conv_bn_eval
        _replace(merged, layer, fuse(merged.get_submodule(layer), merged.get_submodule(norm)))
        _replace(merged, norm, nn.Identity())
    with torch.inference_mode():
        before, after = network(x), merged(x)
    if (after - before).abs().max() > _TOLERANCE * before.abs().max():
        return network, frozenset()
    return merged, frozenset(pairs)


def batchnorms_after(network: nn.Module, x: Tensor) -> dict[str, str]:
    """The BatchNorm that each layer feeds, for layers and BatchNorms that are called once."""
    names = {id(module): name for name, module in network.named_modules()}
    makers: dict[int, str] = {}
    alive: list[Tensor] = []
    pairs: dict[str, str] = {}
    calls: Counter[str] = Counter()

    def note_output(module: nn.Module, _args: object, output: Tensor) -> None:
        name = names[id(module)]
        calls[name] += 1
        makers[id(output)] = name
        alive.append(output)  # while it lives no other tensor has its id

    def note_input(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        name = names[id(module)]
        calls[name] += 1
        if maker := makers.get(id(args[0])):
            pairs[maker] = name

    handles = [each.register_forward_hook(note_output) for each in network.modules() if isinstance(each, _LAYERS)]
    handles += [
        each.register_forward_pre_hook(note_input) for each in network.modules() if isinstance(each, _BATCHNORMS)
    ]
    with torch.inference_mode():
        network(x)
    for handle in handles:
        handle.remove()
    return {layer: norm for layer, norm in pairs.items() if calls[layer] == calls[norm] == 1}


def _replace(network: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
