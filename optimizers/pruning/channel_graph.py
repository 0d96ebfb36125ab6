"""The dependency graph that says which channels go together. Imports torch: import it inside functions only.

torch-pruning's graph (DepGraph, Fang et al. 2023, https://arxiv.org/abs/2301.12900), made to end on any network and to
take a reshape for what its shapes say it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import torch_pruning
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning._helpers import GroupItem, _HybridIndex
from torch_pruning.dependency import index_mapping
from torch_pruning.dependency.dependency import Dependency
from torch_pruning.dependency.group import Group
from torch_pruning.dependency.node import Node
from torch_pruning.pruner import function

Handler = Callable[..., Any]
LAYERS = (ops.TORCH_CONV, ops.TORCH_LINEAR)


class ChannelGraph(torch_pruning.DependencyGraph):  # type: ignore[misc]
    """Which channels of which layers have to go together."""

    def __init__(self) -> None:
        super().__init__()
        self._widths: tuple[int | None, ...] = ()

    @staticmethod
    def of(network: nn.Module, x: Tensor) -> ChannelGraph:
        """The graph of a network run on x[N, C, H, W]."""
        graph = ChannelGraph()
        with warnings.catch_warnings():
            # It says that it will guess which dimension of a parameter outside layers holds the channels.
            warnings.simplefilter("ignore")
            graph.build_dependency(network, x)
        return graph

    def get_pruning_group(self, module: nn.Module, pruning_fn: Handler, idxs: Iterable[int]) -> Group:
        """The channels that go with `idxs` of one layer.

        As torch-pruning's, but each channel of each layer is followed once: following joined paths again whenever
        they bring other channels never ends where a reshape was misread, and takes minutes in dense networks.
        """
        if module not in self.module2node:
            raise ValueError(f"{module} is not in the dependency graph")
        if _is_depthwise(module):
            pruning_fn = function.prune_depthwise_conv_out_channels
        self._update_mappings()
        root = self.module2node[module]
        first = Dependency(pruning_fn, pruning_fn, source=root, target=root)
        return self._group(self._followed(first, [_HybridIndex(idx=index, root_idx=index) for index in idxs]))

    def merged(self, groups: Iterable[Group]) -> Group:
        """One group of several that were found before any cut: cutting it is quicker than cutting one after another."""
        together: dict[Any, tuple[Dependency, dict[int, None]]] = {}
        for dep, indices in (item for group in groups for item in group):
            together.setdefault((dep.target, dep.handler), (dep, {}))[1].update(dict.fromkeys(indices))
        merged = Group()
        merged._DG, merged._group = self, [GroupItem(dep, list(indices)) for dep, indices in together.values()]
        return merged

    def _update_mappings(self) -> None:
        """Where channels lie after a cut; nothing to do while no width changed."""
        widths = tuple(self.get_out_channels(node) for node in self.module2node.values())
        if widths != self._widths:
            with warnings.catch_warnings():
                # In deep networks it gives up inferring some widths and says so; what is wrong then, a trial finds.
                warnings.filterwarnings("ignore", message="Maximum recursive depth")
                index_mapping.update_index_mapping(self)
            self._widths = widths

    def _followed(self, first: Dependency, indices: list[_HybridIndex]) -> dict[Any, tuple[Dependency, dict[int, Any]]]:
        """By layer and side: the dependency that reached it first, and its channels."""
        found: dict[Any, tuple[Dependency, dict[int, Any]]] = {}
        waiting = [(first, indices)]
        while waiting:
            dep, reached = waiting.pop()
            _, known = found.setdefault((dep.target, dep.handler), (dep, {}))
            new = [index for index in reached if index.idx not in known]
            known.update((index.idx, index) for index in new)
            for after in dep.target.dependencies if new else ():
                if after.is_triggered_by(dep.handler):
                    mapped = new
                    for mapping in after.index_mapping:
                        mapped = mapping(mapped) if mapping is not None else mapped
                    if mapped:
                        waiting.append((after, mapped))
        return found

    def _group(self, found: dict[Any, tuple[Dependency, dict[int, Any]]]) -> Group:
        group = Group()
        group._DG = self
        ignored = {id(parameter) for parameter in self.ignored_params}
        for dep, known in found.values():
            if id(dep.target.module) not in ignored:
                item = GroupItem(dep, list(known))
                item.root_idxs = [index.root_idx for index in known.values()]
                group._group.append(item)
        return group

    def _trace(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        nodes: dict[Any, Any] = super()._trace(*args, **kwargs)
        for node in list(nodes.values()):
            nodes |= {piece.module: piece for piece in _understand(node)}
        return nodes

    def layers(self, group: Group, *, is_input: bool) -> Iterator[tuple[Any, list[int]]]:
        """Convolutions and linear layers that a group reaches by their inputs or their outputs, with the channels."""
        reaches = self.is_in_channel_pruning_fn if is_input else self.is_out_channel_pruning_fn
        for dep, indices in group:
            is_depthwise_input = is_input and dep.handler == function.prune_depthwise_conv_out_channels
            if reaches(dep.handler) and isinstance(dep.target.module, LAYERS) and not is_depthwise_input:
                yield dep.target.module, indices

    def channels(self, dep: Dependency) -> int | None:
        """How many channels a layer has on the side that a dependency prunes; None for operations."""
        is_output = self.is_out_channel_pruning_fn(dep.handler)
        count: int | None = (self.get_out_channels if is_output else self.get_in_channels)(dep.target)
        return count


def _understand(node: Any) -> list[Any]:
    """Let the library see what the shapes say about an operation; nodes for the pieces of a split."""
    grad_fn = node.grad_fn
    if node.type == ops.OPTYPE.RESHAPE and _flattens(grad_fn):
        return []
    is_known = node.type == ops.OPTYPE.CONCAT or (node.type == ops.OPTYPE.SPLIT and _is_read_once(node))
    if is_known and _is_along_channels(grad_fn):
        shapes = [metadata.shape for metadata in grad_fn._input_metadata]
        sizes = [int(shape[_axis(grad_fn)]) for shape in shapes]
        # The library takes 1 for the axis of channels.
        node.grad_fn = SimpleNamespace(_saved_dim=1, _saved_split_sizes=sizes, next_functions=grad_fn.next_functions)
        return _pieces(node, grad_fn, len(sizes)) if node.type == ops.OPTYPE.SPLIT else []
    if node.type in (ops.OPTYPE.RESHAPE, ops.OPTYPE.EXPAND, ops.OPTYPE.CONCAT, ops.OPTYPE.SPLIT):
        node.type = ops.OPTYPE.ELEMENTWISE
    return []


def _pieces(split: Any, grad_fn: Any, count: int) -> list[Any]:
    """A node for every piece of a split, between it and those that read the piece: the library goes by their order."""
    pieces = [Node(ops._ElementWiseOp(f"{split.module.id}.{number}", "piece"), grad_fn) for number in range(count)]
    for reader in dict.fromkeys(split.outputs):
        taken = iter([number for before, number in reader.grad_fn.next_functions if before is grad_fn])
        for place, before in enumerate(reader.inputs):
            if before is split:
                piece = pieces[next(taken)]
                reader.inputs[place] = piece
                piece.add_output(reader)
    for piece in pieces:
        piece.add_input(split)
    split.outputs = pieces
    return pieces


def _is_read_once(split: Any) -> bool:
    """Whether it is known which piece goes where: a layer that is called several times has but one node."""
    edges = sum(before is split.grad_fn for reader in set(split.outputs) for before, _ in reader.grad_fn.next_functions)
    return edges == len(split.outputs)


def _axis(grad_fn: Any) -> int:
    axis = int(grad_fn._saved_dim)
    return axis if axis < 2**63 else axis - 2**64


def _is_along_channels(grad_fn: Any) -> bool:
    """Whether tensors are joined or split along the second of four dimensions, or the last."""
    dimensions = len(grad_fn._input_metadata[0].shape)
    return _axis(grad_fn) % dimensions in (1 if dimensions == 4 else -1, dimensions - 1)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, ops.TORCH_CONV) and module.groups == module.out_channels > 1


def _flattens(grad_fn: Any) -> bool:
    """Whether a reshape makes [N, C * H * W] of [N, C, H, W]."""
    before, after = _shape_before(grad_fn), grad_fn._input_metadata[0].shape
    return len(before) == 4 and len(after) == 2 and before[0] == after[0]


def _shape_before(grad_fn: Any) -> tuple[int, ...]:
    for name in ("_saved_self_sym_sizes", "_saved_self_sizes"):
        if hasattr(grad_fn, name):
            return tuple(getattr(grad_fn, name))
    return ()
