"""What of a network can lose channels, whatever its architecture. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.dependency.group import Group

from optimizers.pruning.attention import heads_by_layer, refreshing
from optimizers.pruning.channel_graph import LAYERS, ChannelGraph
from optimizers.pruning.trial import Trial

CLASSES = "It gives the classes"
TOKENS = "Every block reads its outputs and adds to them"
NOT_CALLED = "The network uses its weights without calling it as a layer"
UNEVEN = "Its channels meet dimensions of another number"


@dataclass(frozen=True, eq=False)
class Structure:
    """What of one network can lose channels."""

    graph: ChannelGraph
    """Which channels go together."""
    kept: dict[nn.Module, str]
    """Layers whose outputs all stay, each with one sentence why; what is joined to them stays too."""
    heads: dict[nn.Module, int]
    """Layers that give queries, keys and values, together or apart, with their number of heads."""
    mlps: tuple[nn.Module, ...]
    """Layers that give the hidden width of MLPs over tokens."""
    refresh: Callable[[nn.Module], None]
    """To be called after a cut."""


def structure_of(network: nn.Module, x: Tensor, *, whole_heads: bool = False) -> Structure:
    """What of a network in eval mode may go, found by running it on inputs as x[N, C, H, W]; it is left as it was.

    Attention is to lose the same dimensions of every head, or else whole heads. A transformer keeps the width of its
    tokens. All else is tried: half of the channels are cut, and what then fails, or does not give what the network
    gives with the same channels silenced, is kept.
    """
    with _nothing_put_aside(network):
        graph, heads = ChannelGraph.of(network, x), heads_by_layer(network)
        refresh = refreshing(network, whole_heads=whole_heads)
        layers = (layer for layer in network.modules() if isinstance(layer, LAYERS))
        kept = {layer: NOT_CALLED for layer in layers if layer not in graph.module2node}
        candidates, halves = [], []
        for group in graph.get_all_groups(root_module_types=LAYERS):
            if why := _why_kept(graph, heads, group):
                kept |= {layer: why for layer, _ in graph.layers(group, is_input=False)}
            elif half := _half(graph, heads, group, whole_heads):
                candidates.append(group)
                halves.append(half)
        trial = Trial(network, graph, heads, refresh, _noise(x))
        while found := dict(_failing(trial, halves)):
            kept |= {layer: why for half, why in found.items() for layer, _ in graph.layers(half, is_input=False)}
            halves = [half for half in halves if half not in found]
    return Structure(graph, kept, heads, tuple(_mlps(graph, heads, candidates)), refresh)


def _noise(x: Tensor) -> Tensor:
    """As many values like x[N, C, H, W]; for x[N, 2, length] tokens that every vocabulary has, all of which count."""
    generator = torch.Generator().manual_seed(0)
    if x.is_floating_point():
        return torch.randn(x.shape, generator=generator).to(x)
    tokens = torch.randint(0, 2, x.shape, generator=generator).to(x)
    tokens[:, 1] = 1
    return tokens


@contextmanager
def _nothing_put_aside(network: nn.Module) -> Iterator[None]:
    """What modules put aside in dicts while they run, like the bias of an attention, is gone afterwards.

    It would be stale after a cut, and a module that holds the result of a run with gradients cannot be copied.
    """
    dicts = [value for module in network.modules() for value in vars(module).values() if isinstance(value, dict)]
    before = [set(known) for known in dicts]
    try:
        yield
    finally:
        for known, names in zip(dicts, before, strict=True):
            for name in set(known) - names:
                del known[name]


def _why_kept(graph: ChannelGraph, heads: dict[nn.Module, int], group: Group) -> str | None:
    """Why a group that holds all channels of its first layer has to stay; None where it may be tried."""
    size = 1 + max(group[0].idxs)
    if any(isinstance(dep.target.module, ops._OutputOp) for dep, _ in group):
        return CLASSES
    if not all(graph.module2node[layer].outputs for layer, _ in graph.layers(group, is_input=False)):
        return CLASSES
    if any(layer in heads for layer, _ in graph.layers(group, is_input=True)):
        return TOKENS
    for dep, indices in group:
        module = dep.target.module
        if isinstance(module, nn.MultiheadAttention):
            return TOKENS
        if isinstance(module, nn.Parameter):
            if graph.channels(dep) != size:
                # Not channels but, say, a bias for every head.
                graph.ignored_params.append(module)
        elif (count := graph.channels(dep)) is not None and max(indices) >= count:
            return UNEVEN
    return None


def _half(graph: ChannelGraph, heads: dict[nn.Module, int], group: Group, whole_heads: bool) -> Group | None:
    """The first half of a group's channels, in every head and channel group, or of its heads; None if it has one."""
    layer, handler, count = group[0].dep.target.module, group[0].dep.handler, len(group[0].idxs)
    parts = max(_parts(dep.target.module, heads) for dep, _ in group)
    readers = list(graph.layers(group, is_input=True))
    if readers and any(layer in heads for layer, _ in graph.layers(group, is_input=False)):
        # Queries, keys and values have three channels for each one that the heads put out.
        layer, indices = readers[-1]
        handler, count = graph.get_pruner_of_module(layer).prune_in_channels, len(indices)
        if whole_heads:
            return graph.get_pruning_group(layer, handler, range(parts // 2 * (count // parts))) if parts > 1 else None
    each = count // parts
    indices = [part * each + index for part in range(parts) for index in range(each // 2)]
    return graph.get_pruning_group(layer, handler, indices) if indices else None


def _parts(layer: Any, heads: dict[nn.Module, int]) -> int:
    """Into how many equal parts a layer's channels fall."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    if isinstance(layer, ops.TORCH_CONV) and layer.groups != layer.out_channels:
        return int(layer.groups)
    return heads.get(layer, 1)


def _failing(trial: Trial, groups: Sequence[Group]) -> list[tuple[Group, str]]:
    """Those of the groups that the network does not survive without, each with one sentence why."""
    why = trial.why_not(groups) if groups else None
    if why is None:
        return []
    middle = len(groups) // 2
    found = [*_failing(trial, groups[:middle]), *_failing(trial, groups[middle:])] if middle else []
    # Where each half is harmless on its own, both stay.
    return found or [(group, why) for group in groups]


def _mlps(graph: ChannelGraph, heads: dict[nn.Module, int], groups: Iterable[Group]) -> Iterator[nn.Module]:
    """Linear layers over tokens whose outputs are read by one other alone."""
    for group in groups:
        outputs = [layer for layer, _ in graph.layers(group, is_input=False)]
        readers = list(graph.layers(group, is_input=True))
        if len(outputs) == len(readers) == 1 and isinstance(outputs[0], nn.Linear) and outputs[0] not in heads:
            dimensions = len(graph.module2node[outputs[0]].grad_fn._input_metadata[0].shape)
            if dimensions > 2:
                yield outputs[0]
