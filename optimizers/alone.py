"""One layer of a network changed, the others left alone. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.scan import Change
from optimizers.quantization.simulation import Format

Range = tuple[Tensor, Tensor]
"""The smallest and the largest value."""


def why_not(network: nn.Module, name: str, change: Change, *, is_last: bool) -> str | None:
    """One sentence on why a change does not fit a layer, or None."""
    percent = _percent(change)
    if percent is None:
        return None
    if is_last:
        return "Its outputs are the classes, all of which are asked for."
    if not len(_silent(network, name, percent)):
        return f"It has too few outputs for {percent} % of them to be one."
    return None


@contextmanager
def changed(network: nn.Module, name: str, change: Change, *, seen: Range, norm: str | None) -> Iterator[None]:
    """The network with that layer changed, in place; everything is as before afterwards.

    intN rounds each output's weights symmetrically, and all that comes in to one grid from the smallest to the largest
    value `seen`, with a zero point. wN rounds the weights alone. pruneN silences outputs: their weights and biases
    count as zero, and so does what the BatchNorm of the name `norm`, which reads the layer, gives for them. Where the
    layer's outputs are added to others, the others stay; where an output goes on through layers with a bias, so does
    that bias.
    """
    layer: Any = network.get_submodule(name)
    if (percent := _percent(change)) is not None:
        silent = _silent(network, name, percent)
        modules = [layer, *([network.get_submodule(norm)] if norm else [])]
        handles = [module.register_forward_hook(_silencing(silent)) for module in modules]
        before = layer.weight
    else:
        form = Format("integer", int(change.lstrip("intw")), "channel", 0, _input_bits(change))
        handles = [layer.register_forward_pre_hook(_rounding(form, layer, seen))] if form.input_bits else []
        before = layer.weight
        layer.weight = nn.Parameter(form.rounded(before.detach()), requires_grad=False)
    try:
        yield
    finally:
        layer.weight = before
        for handle in handles:
            handle.remove()


def _percent(change: Change) -> int | None:
    return int(change.removeprefix("prune")) if change.startswith("prune") else None


def _input_bits(change: Change) -> int | None:
    return int(change.removeprefix("int")) if change.startswith("int") else None


def _silent(network: nn.Module, name: str, percent: int) -> Tensor:
    """Those outputs of a layer, rounded down to whole ones, whose weights have the smallest L2 norm.

    Of a layer that gives queries, keys and values at once, those that are the same of all three go together.
    """
    layer: Any = network.get_submodule(name)
    together = 3 if _gives_queries_keys_values(network, name) else 1
    norms = layer.weight.detach().flatten(1).norm(dim=1).reshape(together, -1)
    width = norms.shape[1]
    chosen = norms.norm(dim=0).argsort(stable=True)[: width * percent // 100]
    return torch.cat([chosen + number * width for number in range(together)])


def _gives_queries_keys_values(network: nn.Module, name: str) -> bool:
    parent, _, own = name.rpartition(".")
    layer: Any = network.get_submodule(name)
    return own == "qkv" and hasattr(network.get_submodule(parent), "num_heads") and len(layer.weight) % 3 == 0


def _silencing(silent: Tensor) -> Any:
    def hook(module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output.index_fill(-1 if isinstance(module, nn.Linear) else 1, silent, 0)

    return hook


def _rounding(form: Format, layer: nn.Module, seen: Range) -> Any:
    rounds = form.input_rounding(layer, *seen)

    def hook(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (rounds(args[0]), *args[1:])

    return hook
