"""The order in which a graph can be computed.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping

from onnx import GraphProto, NodeProto

from core.errors import Refused
from intake.parsing.graph_checks import graphs_in, named
from intake.parsing.untrusted import shown


def put_in_order(graph: GraphProto) -> None:
    """Each node after those whose results it takes, which quantizers do not see to.

    Raises `Refused` for a circle, a tensor that is made twice, and one that nothing makes.
    """
    known = Counter(each.name for each in (*graph.initializer, *graph.input))
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    made = known + Counter(name for node in graph.node for name in node.output if name)
    if twice := next((name for name, count in made.items() if count > 1), None):
        raise Refused(f"Two parts of the graph make {shown(twice)}", expected="each tensor made once")
    for node in graph.node:
        if missing := next((each for each in read_by(node) if each not in made), None):
            raise Refused(f"{named(node)} takes {shown(missing)}, which nothing makes", action="Export the file again")
    order = _order(graph, makers)
    if order != sorted(order):
        nodes = [NodeProto.FromString(graph.node[place].SerializeToString()) for place in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _order(graph: GraphProto, makers: Mapping[str, int]) -> list[int]:
    """Places of all nodes, as near as can be to how they stand."""
    needs = [{makers[name] for name in read_by(node) if name in makers} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for place, each in enumerate(needs):
        for need in each:
            readers.setdefault(need, []).append(place)
    waiting = [len(each) for each in needs]
    ready = [place for place, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        order.append(place := heapq.heappop(ready))
        for reader in readers.get(place, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if stuck := next((node for place, node in enumerate(graph.node) if waiting[place]), None):
        raise Refused(f"{named(stuck)} depends on its own result", expected="a graph without circles")
    return order


def read_by(node: NodeProto) -> Iterator[str]:
    """All that a node takes, with what its inner graphs take from outside."""
    yield from filter(None, node.input)
    for graph in graphs_in(node):
        inner = {name for each in graph.node for name in each.output}
        inner.update(each.name for each in (*graph.initializer, *graph.input))
        yield from (name for each in graph.node for name in read_by(each) if name not in inner)
        yield from (each.name for each in graph.output if each.name not in inner)
