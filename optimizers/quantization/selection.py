"""Which layers there are and which of them stay in float. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from core.errors import BadInput

KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Modules that hold what is learned: the layers of a network."""

_SHOWN = 12


def layers_of(network: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """The layers by name, in the order in which x[N, C, H, W] passes through them first.

    The network is asked in eval mode, so that no BatchNorm learns from it, and left in the mode it was in.
    """
    names = {id(module): name for name, module in network.named_modules()}
    seen: dict[str, nn.Module] = {}

    def note(module: nn.Module, _args: object) -> None:
        seen.setdefault(names[id(module)], module)

    handles = [each.register_forward_pre_hook(note) for each in network.modules() if isinstance(each, KINDS)]
    training = [each for each in network.modules() if each.training]
    for each in training:
        each.training = False
    try:
        with torch.inference_mode():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
        for each in training:
            each.training = True
    return seen


def kind_of(layer: nn.Module) -> str:
    """`Conv2d`, `depthwise Conv2d`, `Linear`: a subclass is called by the layer it is."""
    kind = next(kind.__name__ for kind in KINDS if isinstance(layer, kind))
    groups = getattr(layer, "groups", 1)
    return f"depthwise {kind}" if groups > 1 and groups == getattr(layer, "in_channels", 0) else kind


def kept_layers(layers: dict[str, nn.Module], patterns: Sequence[str]) -> dict[str, str]:
    """The layers that a pattern names, each with its pattern.

    A pattern is a module name with `*` and `?` (`head`, `blocks.0.*`), the name of a module that contains layers
    (`blocks.0`), or a kind of layer (`Linear`, `depthwise Conv2d`). Raises `BadInput` for one that fits no layer.
    """
    return kept_by_kind({name: kind_of(layer) for name, layer in layers.items()}, patterns)


def kept_by_kind(kinds: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """The same for layers of which the names and the kinds are known."""
    kept: dict[str, str] = {}
    for pattern in patterns:
        found = [name for name, kind in kinds.items() if _fits(name, kind, pattern)]
        if not found:
            names = ", ".join(list(kinds)[:_SHOWN]) + (", ..." if len(kinds) > _SHOWN else "")
            raise BadInput(
                f"No layer is called {pattern!r}",
                expected=f"one of {names}, with * for any letters, or a kind of layer: "
                f"{', '.join(sorted(set(kinds.values())))}",
                action="Correct the pattern or remove it",
            )
        kept |= {name: kept.get(name, pattern) for name in found}
    return kept


def _fits(name: str, kind: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.") or kind == pattern
