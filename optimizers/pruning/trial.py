"""Cutting channels on trial and putting them back. Imports torch: import it inside functions only.

A network without some channels has to give what it gives with the same channels silenced: with zeros where layers read
them, and left out where they are normalised together. The graph says which channels belong together; this finds out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.dependency.group import Group

from optimizers.pruning.channel_graph import ChannelGraph

TOLERANCE = 1e-3
"""Largest difference of answers, of their own largest value."""

_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, AssertionError, ArithmeticError)
"""What networks raise that are given widths they did not expect."""
_Norm = (ops.TORCH_LAYERNORM, ops.TORCH_GROUPNORM)


@dataclass(frozen=True, eq=False)
class Trial:
    """A network that can be cut and put together again."""

    network: nn.Module
    graph: ChannelGraph
    heads: dict[nn.Module, int]
    refresh: Callable[[nn.Module], None]
    x: Tensor
    """x[N, C, H, W] on which answers are compared."""

    def why_not(self, groups: Sequence[Group]) -> str | None:
        """One sentence on why the network does not survive without these channels, or None; it is left as it was."""
        together = self.graph.merged(groups)
        try:
            with torch.no_grad():
                wanted, found = self._answer(together, self._silence), self._answer(together, self._cut)
        except _FAILURES:
            return "The network counts on the number of its channels"
        if found.shape == wanted.shape and (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max():
            return None
        return "Without some of its channels the network is not what it is with them silenced"

    def _answer(self, group: Group, change: Callable[[Group], None]) -> Tensor:
        with _put_back(self.network, self.graph):
            change(group)
            answer: Tensor = self.network(self.x)
            return answer

    def _cut(self, group: Group) -> None:
        group.prune(record_history=False)
        self.refresh(self.network)

    def _silence(self, group: Group) -> None:
        for dep, indices in group:
            if isinstance(dep.target.module, _Norm):
                _leave_out(dep.target.module, indices, self.graph.get_pruner_of_module(dep.target.module))
        for layer, indices in self.graph.layers(group, is_input=True):
            _silence_inputs(layer, indices)
        for layer, indices in self.graph.layers(group, is_input=False):
            if layer in self.heads:
                _silence_outputs(layer, indices)


def _silence_inputs(layer: Any, indices: Sequence[int]) -> None:
    """Zeros for the inputs of a layer, which may belong to one of its channel groups only."""
    weight, groups = layer.weight.detach().clone(), getattr(layer, "groups", 1)
    outputs, inputs = len(weight) // groups, weight.shape[1]
    for index in indices:
        group = index // inputs
        weight[group * outputs : (group + 1) * outputs, index % inputs] = 0
    layer.weight = nn.Parameter(weight)


def _silence_outputs(layer: Any, indices: Sequence[int]) -> None:
    """Zeros for queries and keys, whose products are sums over the channels."""
    for name, parameter in list(layer.named_parameters(recurse=False)):
        silent = parameter.detach().clone()
        silent[list(indices)] = 0
        setattr(layer, name, nn.Parameter(silent))


def _leave_out(norm: Any, indices: Sequence[int], pruner: Any) -> None:
    """Let a normalisation give zeros for some channels, and take mean and spread of the others alone."""
    others, count = copy.deepcopy(norm), pruner.get_out_channels(norm)
    pruner.prune_out_channels(others, list(indices))
    kept = torch.tensor(sorted(set(range(count)) - set(indices)))

    def forward(x: Tensor) -> Tensor:
        is_first = isinstance(norm, ops.TORCH_GROUPNORM) or x.shape[-1] != count or "2d" in type(norm).__name__
        axis = 1 if is_first else -1
        return torch.zeros_like(x).index_copy(axis, kept, others(x.index_select(axis, kept)))

    norm.forward = forward


@contextmanager
def _put_back(network: nn.Module, graph: ChannelGraph) -> Iterator[None]:
    """Everything that a cut changes in modules and graph is afterwards as it was."""
    nodes, names = dict(graph.module2node), dict(graph._param_to_name)
    modules = {*network.modules(), *(module for module in nodes if isinstance(module, nn.Module))}
    states = {module: {name: _copied(name, value) for name, value in vars(module).items()} for module in modules}
    try:
        yield
    finally:
        for module, state in states.items():
            vars(module).clear()
            vars(module).update(state)
        for module, node in nodes.items():
            node.module = module
        graph.module2node, graph._param_to_name = nodes, names


def _copied(name: str, value: Any) -> Any:
    """Its own copy of what a cut changes in place."""
    if name in ("_parameters", "_buffers"):
        return dict(value)
    return list(value) if isinstance(value, list) else value
