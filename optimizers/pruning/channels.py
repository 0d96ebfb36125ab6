"""Finding the channels of a network that can go, and removing some. Imports torch: import it inside functions only.

A dependency graph tells which layers are joined so that they lose the same channels: DepGraph, Fang et al. 2023,
https://arxiv.org/abs/2301.12900.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_pruning import ops

from core.bundle import ModelBundle
from core.data import Contract
from core.errors import BadInput
from optimizers.pruning.channel_graph import LAYERS
from optimizers.pruning.importances import Importance, importance_of
from optimizers.pruning.prunable import Structure, structure_of
from optimizers.pruning.ranking import Indices, Ranked, Rule, removals
from optimizers.quantization.selection import kept_layers, layers_of

Attention = Literal["head_width", "heads", "none"]


@dataclass(frozen=True)
class Cut:
    """Which channels go."""

    ratio: float
    importance: Importance
    everywhere_alike: bool
    """The same share in every layer; else one ranking over all layers."""
    round_to: int
    """Widths become multiples of this, by removing more."""
    max_ratio: float = 1.0
    """One ranking takes no more than this share of any layer."""
    attention: Attention = "head_width"
    """What attention loses: the same dimensions of every head, whole heads, or nothing."""
    mlp: bool = True
    """Whether the hidden layers of a transformer's MLPs lose channels."""
    keep: tuple[str, ...] = ()
    """Patterns of layers that keep their outputs, as `optimizers.quantization.selection.kept_layers` reads them."""
    staggered: bool = False
    """With the same share everywhere: layers round up or down in turn, so that a target can be met closely."""

    @property
    def rule(self) -> Rule:
        """The part of it that needs no network."""
        return Rule(self.ratio, self.everywhere_alike, self.round_to, self.max_ratio, self.staggered)


@dataclass(frozen=True)
class Joined:
    """Channels of joined layers of one network."""

    layers: tuple[str, ...]
    """Layers whose outputs these are, the one that leads first; heads go by their attention block."""
    inputs: tuple[tuple[str, float], ...]
    """Layers that read them, each with the share of its inputs that they are."""
    ranked: Ranked


@dataclass(frozen=True)
class Ranking:
    """Everything of a network that can go, with how much it matters."""

    groups: tuple[Joined, ...]
    why_kept: dict[str, str]
    """Layers that keep their outputs, each with one sentence why."""

    @property
    def leads(self) -> tuple[str, ...]:
        """The names of the groups: their leading layers."""
        return tuple(group.layers[0] for group in self.groups)

    def removals(self, rule: Rule) -> tuple[Indices, ...]:
        """For each group the channels that go. Raises `BadInput` naming a layer that would lose all its channels."""
        found = removals([group.ranked for group in self.groups], rule)
        for group, gone in zip(self.groups, found, strict=True):
            if len(gone) == len(group.ranked.scores):
                raise BadInput(
                    f"Pruning {rule.ratio:.0%} of the channels would leave none in {group.layers[0]}",
                    expected="at least one in every layer",
                    action="Lower the pruning ratio, or name the layer among those that keep their outputs",
                )
        return found

    def widths(self, rule: Rule) -> tuple[int, ...]:
        """Channels that would be left in each group. Raises `BadInput` as `removals` does."""
        sizes = (len(group.ranked.scores) for group in self.groups)
        return tuple(size - len(gone) for size, gone in zip(sizes, self.removals(rule), strict=True))


def prune(bundle: ModelBundle, cut: Cut) -> nn.Module:
    """A narrower copy of the bundle's module: its least important channels are gone from every layer they touch.

    The output layer keeps its classes and a transformer its embedding width; there, the MLPs and the heads shrink.
    Random importance draws from torch's global generator. Raises `BadInput` naming the layer that would lose all its
    channels.
    """
    ranking = rank(bundle.module, bundle, cut)
    return narrowed(
        bundle.module, bundle.contract, cut, dict(zip(ranking.leads, ranking.removals(cut.rule), strict=True))
    )


def rank(network: nn.Module, bundle: ModelBundle, cut: Cut) -> Ranking:
    """The channels of `network` that `cut` may remove, ranked by its importance; the bundle gives images and contract.

    Random importance draws from torch's global generator. Raises `BadInput` for a pattern that fits no layer.
    """
    graph = _Graph(copy.deepcopy(network).cpu().eval(), bundle.contract, cut)
    importance = importance_of(graph.network, bundle, cut.importance)
    scored = {lead: importance(group) for lead, group in graph.groups.items()}
    joined = tuple(graph.joined(lead, scores) for lead, scores in scored.items() if scores is not None)
    return Ranking(joined, graph.why_kept(joined))


def narrowed(network: nn.Module, contract: Contract, cut: Cut, gone: Mapping[str, Indices]) -> nn.Module:
    """A copy of the network on the CPU without the channels that `gone` names for leading layers of its groups."""
    graph = _Graph(copy.deepcopy(network).cpu().eval(), contract, cut)
    graph.remove(gone)
    return graph.network


def widths(network: nn.Module) -> dict[str, int]:
    """Output channels of every convolution and linear layer, by name."""
    layers = network.named_modules()
    return {name: len(layer.weight) for name, layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)}


class _Graph:
    """What can go from one network, which it may change."""

    def __init__(self, network: nn.Module, contract: Contract, cut: Cut) -> None:
        self.network, self.cut, x = network, cut, torch.from_numpy(contract.example(1))
        self.structure = structure_of(network, x, whole_heads=cut.attention == "heads")
        self.graph = self.structure.graph
        self.names = {module: name for name, module in network.named_modules()}
        self.kept = _kept(network, self.structure, cut, x)
        ignored = [part for layer in self.kept for part in layer.modules()]
        found = self.graph.get_all_groups(ignored_layers=ignored, root_module_types=LAYERS)
        led = (self._led(group) for group in found if not self._is_narrow(group))
        self.groups: dict[str, Any] = {lead: group for lead, group in led if group is not None}
        """All channels that can go, by the name of the leading layer."""

    def joined(self, lead: str, scores: Tensor) -> Joined:
        """A group with its scores[channels]."""
        group = self.groups[lead]
        outputs = tuple(self.names[layer] for layer, _ in self.graph.layers(group, is_input=False))
        inputs = ((layer, len(indices)) for layer, indices in self.graph.layers(group, is_input=True))
        return Joined(
            layers=tuple(dict.fromkeys((lead, *outputs))),
            inputs=tuple((self.names[layer], count / self.graph.get_in_channels(layer)) for layer, count in inputs),
            ranked=Ranked(
                scores.double().numpy(),
                len(scores),
                parts=max(self._parts(dep.target.module) for dep, _ in group),
                whole=self.cut.attention == "heads" and self._projection(group) is not None,
            ),
        )

    def why_kept(self, groups: Sequence[Joined]) -> dict[str, str]:
        """One sentence for every layer that is in none of the groups."""
        going = {name for group in groups for name in group.layers}
        layers = (layer for layer in self.network.modules() if isinstance(layer, LAYERS))
        return {self.names[layer]: self._why(layer) for layer in layers if self.names[layer] not in going}

    def remove(self, gone: Mapping[str, Indices]) -> None:
        """Cut the channels that `gone` names for leading layers."""
        for lead, group in self.groups.items():
            indices = [int(index) for index in gone.get(lead, ())]
            if indices:
                root = group[0].dep
                self.graph.get_pruning_group(root.target.module, root.handler, indices).prune()
        self.structure.refresh(self.network)

    def _led(self, group: Any) -> tuple[str, Any]:
        """The name that a group goes by, and the group as seen from the layer by which its channels are counted."""
        projection = self._projection(group)
        if projection is None:
            return self.names[group[0].dep.target.module], group
        # Queries, keys and values may have three channels for each one that the heads put out.
        *_, (reader, indices) = ((None, []), *self.graph.layers(group, is_input=True))
        if reader is None:
            return self.names[projection], None
        handler = self.graph.get_pruner_of_module(reader).prune_in_channels
        return self.names[projection].rpartition(".")[0], self.graph.get_pruning_group(reader, handler, indices)

    def _projection(self, group: Any) -> nn.Module | None:
        """The first layer of a group that gives queries, keys or values."""
        outputs = (layer for layer, _ in self.graph.layers(group, is_input=False))
        return next((layer for layer in outputs if layer in self.structure.heads), None)

    def _is_narrow(self, group: Any) -> bool:
        return any(len(indices) == 1 for _, indices in self.graph.layers(group, is_input=False))

    def _parts(self, layer: Any) -> int:
        """Into how many equal parts the channels of a layer fall."""
        if isinstance(layer, ops.TORCH_CONV) and layer.groups == layer.out_channels:
            return 1
        groups = getattr(layer, "num_groups" if isinstance(layer, nn.GroupNorm) else "groups", 1)
        return int(self.structure.heads.get(layer, groups))

    def _why(self, layer: nn.Module) -> str:
        if layer in self.kept:
            return self.kept[layer]
        pruner = self.graph.get_pruner_of_module(layer)
        group = self.graph.get_pruning_group(layer, pruner.prune_out_channels, range(pruner.get_out_channels(layer)))
        for member, _ in self.graph.layers(group, is_input=False):
            if member in self.kept:
                return f"It is joined to {self.names[member]}: {_lowered(self.kept[member])}"
        return (
            "It has a single channel" if self._is_narrow(group) else "This importance says nothing about its channels"
        )


def _kept(network: nn.Module, structure: Structure, cut: Cut, x: Tensor) -> dict[nn.Module, str]:
    """Layers that keep their outputs, each with one sentence why."""
    layers = layers_of(network, x) if cut.keep else {}
    asked = {layers[name]: f"It is kept by {pattern!r}" for name, pattern in kept_layers(layers, cut.keep).items()}
    attention = dict.fromkeys(structure.heads, "Attention is left as it is") if cut.attention == "none" else {}
    mlps = {} if cut.mlp else dict.fromkeys(structure.mlps, "The width of MLPs is left as it is")
    return {**attention, **mlps, **asked, **structure.kept}


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
