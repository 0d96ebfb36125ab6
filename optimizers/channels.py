"""Removing channels from a network. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from core.bundle import ModelBundle
from core.errors import BadInput
from optimizers.images import TrainingImages

Importance = Literal["l2", "l1", "taylor", "bn_scale", "random"]

TAYLOR_IMAGES = 256

_IMPORTANCES: dict[Importance, Callable[[], Any]] = {
    "l2": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=2),
    "l1": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=1),
    "taylor": torch_pruning.importance.GroupTaylorImportance,
    "bn_scale": torch_pruning.importance.BNScaleImportance,
    "random": torch_pruning.importance.RandomImportance,
}


@dataclass(frozen=True)
class Cut:
    """Which channels go."""

    ratio: float
    importance: Importance
    everywhere_alike: bool
    """The same share in every layer; else one ranking over all layers."""
    round_to: int
    """Widths become multiples of this, by removing more."""


def prune(bundle: ModelBundle, cut: Cut) -> nn.Module:
    """A narrower copy of the bundle's module: its least important channels are gone from every layer they touch.

    Layers joined by a shortcut lose the same channels: DepGraph, Fang et al. 2023, https://arxiv.org/abs/2301.12900.
    The output layer keeps its classes and a transformer its embedding width; there, the MLPs and each head's
    dimensions shrink. Random importance draws from torch's global generator. Raises `BadInput` naming the layer that
    would lose all its channels.
    """
    network = copy.deepcopy(bundle.module).cpu().eval()
    if cut.importance == "taylor":
        _fill_gradients(network, bundle)
    heads = {attention.qkv: attention.num_heads for attention in _attentions(network)}
    with warnings.catch_warnings():
        # It says that it will guess how to prune position embeddings; their width is kept.
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.BasePruner(
            network,
            torch.zeros(1, *bundle.contract.shape),
            importance=_IMPORTANCES[cut.importance](),
            global_pruning=not cut.everywhere_alike,
            pruning_ratio=cut.ratio,
            round_to=cut.round_to,
            ignored_layers=list(_kept(network, bundle)),
            num_heads=heads,
            # Left out, these two would be one dict shared by all pruners of the process.
            in_channel_groups={},
            out_channel_groups={},
        )
        _refuse_dead_layers(pruner, network, cut)
        pruner.step()
    for attention in _attentions(network):
        _shrink_heads(attention)
    network.zero_grad(set_to_none=True)
    return network


def widths(network: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and linear layer, by name."""
    return {name: len(layer.weight) for name, layer in _layers(network).items()}


def _layers(network: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def _attentions(network: nn.Module) -> Iterator[Any]:
    """Attention blocks with one joint projection `qkv`, and `num_heads` heads of `head_dim` dimensions."""
    wanted = ("qkv", "num_heads", "head_dim")
    return (module for module in network.modules() if all(hasattr(module, name) for name in wanted))


def _shrink_heads(attention: Any) -> None:
    """Tell a pruned attention block its new head width, and keep its scores as they were."""
    before, width = attention.head_dim, len(attention.qkv.weight) // 3
    attention.head_dim = width // attention.num_heads
    # Scores are divided by the root of the head width: the queries make up for the change.
    with torch.no_grad():
        for parameter in attention.qkv.parameters():
            parameter[:width] *= (attention.head_dim / before) ** 0.5


def _kept(network: nn.Module, bundle: ModelBundle) -> Iterator[nn.Module]:
    layers = list(_layers(network).values())
    yield layers[-1]
    if bundle.family == "transformer":
        yield from (layer for layer in layers if isinstance(layer, nn.Conv2d))


def _fill_gradients(network: nn.Module, bundle: ModelBundle) -> None:
    images = TrainingImages(bundle.data.train.take(TAYLOR_IMAGES), bundle.contract, torch.device("cpu"))
    with torch.enable_grad():
        loss: Tensor = cross_entropy(network(images.normalised(images.pixels)), images.targets)
        loss.backward()  # type: ignore[no-untyped-call]


def _refuse_dead_layers(pruner: Any, network: nn.Module, cut: Cut) -> None:
    """Make the pruner raise `BadInput` where it would skip layers because none of their channels would remain."""
    names = {module: name for name, module in network.named_modules()}
    leaves_channels = pruner.DG.check_pruning_group

    def check(group: Any) -> bool:
        if leaves_channels(group):
            return True
        name = next(names[item.dep.target.module] for item in group if item.dep.target.module in names)
        raise BadInput(
            f"Pruning {cut.ratio:.0%} of the channels would leave none in {name}",
            expected=f"at least {cut.round_to} in every layer" if cut.round_to > 1 else "at least one in every layer",
            action="Lower the pruning ratio, remove the same share from every layer, or round to a smaller multiple",
        )

    pruner.DG.check_pruning_group = check
