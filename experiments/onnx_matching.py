"""Which layers of a profile executed which operators of the network's ONNX form.

Engines tell the module whose weights a layer multiplies, the node's own name, or the name of the operation of torch
that it came from; fused layers tell several. What tells none of these is matched by order, and only where both sides
have as many of a kind, of the same shapes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.layers import FUSED, Layer

MULTIPLY = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger"}
    | {"MatMulInteger", "MatMulNBits", "DynamicQuantizeMatMul", "Einsum"}
)
"""Operators that multiply and accumulate."""
_NODE = "node_"
"""What the exporter writes before the name of an operation of torch."""
_NUMBERED = re.compile(r"(_\d+|\s\[\d+\])$")


@dataclass(frozen=True)
class Traced:
    """What an operator can be recognised by."""

    name: str
    op: str
    results: tuple[str, ...]
    weights_of: str
    """The module of its weights, empty where it has none or they were renamed."""
    module: str
    scope: str
    """The module that the exporter notes, which may be that of what was merged into it; empty without notes."""
    torch_op: str
    """The operation of torch that it is made for, alone or with others; empty without notes."""
    shapes: tuple[tuple[int, ...], ...]
    macs: int = 0
    """Multiply-accumulates of one with weights; 0 for all others."""


@dataclass(frozen=True)
class Match:
    """Places of layers."""

    leads: tuple[int, ...] = ()
    """Whose time the operator is given."""
    helps: tuple[int, ...] = ()
    """That execute it beside the operator that leads."""


def matched(nodes: Sequence[Traced], layers: Sequence[Layer]) -> list[Match]:
    """One match a node; each layer is led by one node at most."""
    groups = _by_name(nodes, layers)
    groups |= _by_order(nodes, layers, groups)
    leads: dict[int, list[int]] = defaultdict(list)
    helps: dict[int, list[int]] = defaultdict(list)
    for layer, (first, *others) in groups.items():
        leads[first].append(layer)
        for each in others:
            helps[each].append(layer)
    # What an engine tells a layer of its own for has that time, whatever else it is a part of.
    return [Match(tuple(leads[place]), () if leads[place] else tuple(helps[place])) for place in range(len(nodes))]


def _by_name(nodes: Sequence[Traced], layers: Sequence[Layer]) -> dict[int, list[int]]:
    """The nodes of each layer whose name tells them, the leading one first."""
    index = _Index(nodes)
    found: dict[int, list[int]] = {}
    for place, layer in enumerate(layers):
        parts = layer.name.split(FUSED)
        told = list(dict.fromkeys(node for part in parts for node in index.of(part, layer)))
        if told:
            # Of several, the one that multiplies takes nearly all of the time.
            found[place] = sorted(told, key=lambda node: nodes[node].op not in MULTIPLY)
    return found


class _Index:
    """Nodes by all the names that an engine may call them by."""

    def __init__(self, nodes: Sequence[Traced]) -> None:
        self._own = _grouped((node.name, place) for place, node in enumerate(nodes))
        self._results = _grouped((result, place) for place, node in enumerate(nodes) for result in node.results)
        self._weights = _grouped((node.weights_of, place) for place, node in enumerate(nodes))
        self._scopes = _grouped((node.scope, place) for place, node in enumerate(nodes))
        self._multiply = {place for place, node in enumerate(nodes) if node.op in MULTIPLY}

    def of(self, name: str, layer: Layer) -> list[int]:
        """The nodes of that name, the leading one first; for a module those of its weights and all others in it."""
        plain = name.split("/")[0]
        own = self._own.get(name) or self._own.get(plain)
        if own and len(own) == 1:
            return own
        weights, inside = self._weights.get(name, []), self._scopes.get(name, [])
        told = list(dict.fromkeys([*weights, *inside]))
        # A module may be used again where it has no weights: then its name does not tell which time.
        if told and (weights or len(self._multiply & set(told)) == 1 or layer.weight_bytes):
            return told
        return self._results.get(plain, []) if layer.op == plain else []


def _by_order(
    nodes: Sequence[Traced], layers: Sequence[Layer], done: Mapping[int, Sequence[int]]
) -> dict[int, list[int]]:
    """The nodes of layers that are numbered by their engine, where both sides agree on how many and of what shapes."""
    led = {node for group in done.values() for node in group[:1]}
    left = [place for place in range(len(layers)) if place not in done]
    by_op = _grouped((_NUMBERED.sub("", layers[place].name), place) for place in left)
    of_torch = _grouped((_NUMBERED.sub("", op), place) for op, place in _ends(nodes) if place not in led)
    pairs: dict[int, list[int]] = {}
    for op, own in by_op.items():
        pairs |= _paired(nodes, layers, own, of_torch.get(op, []))
    if not done:  # compiled: nothing can be recognised but what multiplies weights
        pairs |= _products(nodes, layers)
    return {layer: [first, *_beside(nodes, first)] for layer, (first,) in pairs.items()}


def _products(nodes: Sequence[Traced], layers: Sequence[Layer]) -> dict[int, list[int]]:
    """What multiplies weights, one after the other, where each multiplies as much as its counterpart."""
    own = [place for place, layer in enumerate(layers) if layer.kind == "compute" and layer.weight_bytes]
    others = [place for place, node in enumerate(nodes) if node.macs]
    is_same = [layers[place].macs for place in own] == [nodes[place].macs for place in others]
    return {layer: [node] for layer, node in zip(own, others, strict=True)} if is_same else {}


def _ends(nodes: Sequence[Traced]) -> Iterator[tuple[str, int]]:
    """Each operation of torch with the last node that it became, which makes its result."""
    last = {node.torch_op: place for place, node in enumerate(nodes) if node.torch_op}
    yield from sorted(last.items(), key=lambda item: item[1])


def _beside(nodes: Sequence[Traced], first: int) -> list[int]:
    """The other nodes of the same operation of torch."""
    op = nodes[first].torch_op
    return [place for place, node in enumerate(nodes) if op and node.torch_op == op and place != first]


def _paired(
    nodes: Sequence[Traced], layers: Sequence[Layer], own: Sequence[int], others: Sequence[int]
) -> dict[int, list[int]]:
    shapes = [layers[place].output_shape for place in own]
    is_same = len(own) == len(others) and all(
        shape is not None and nodes[place].shapes[:1] == (shape,) for shape, place in zip(shapes, others, strict=True)
    )
    return {layer: [node] for layer, node in zip(own, others, strict=True)} if is_same else {}


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for name, place in pairs:
        if name:
            found[name].append(place)
    return dict(found)
