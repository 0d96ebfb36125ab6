"""Whether TensorRT takes a network, operator by operator, from its real parser; needs no GPU with `tensorrt_rtx`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from core.compatibility import Compatibility, OperatorSupport
from runtimes.tensorrt_module import keeping_log, load, module_name, refusal, words

_LEFT_OUT = "it left the node out of what it takes, and did not say why"


def compatibility(onnx: bytes) -> Compatibility:
    """What the parser says of every node of an ONNX graph, whose precision it takes as it is.

    It is asked twice: what it supports, which also tells nodes that it leaves out, and to read the whole graph, for
    what only fails there. Raises `Unavailable` where no module is installed, and `RunFailed` for what is no graph.
    """
    from onnx import load_from_string

    trt = load(module_name(ahead=True) or module_name())
    asked, reader = _Parser(trt), _Parser(trt)
    is_supported = asked.parser.supports_model_v2(onnx)
    reasons = asked.complaints()
    if not reader.parser.parse(onnx):
        reasons = reader.complaints() | reasons
    nodes = load_from_string(onnx).graph.node
    left_out = set() if is_supported else set(range(len(nodes))) - asked.taken()
    reasons = dict.fromkeys(sorted(left_out), _LEFT_OUT) | reasons
    return Compatibility(parser=f"{trt.__name__} {trt.__version__}", operators=_by_operator(nodes, reasons))


class _Parser:
    """A parser with all that has to live as long as it does."""

    def __init__(self, trt: Any) -> None:
        self._log = keeping_log(trt)
        self._builder = trt.Builder(self._log)
        self._network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.parser = trt.OnnxParser(self._network, self._log)

    def complaints(self) -> dict[int, str]:
        """The first words on each node that is refused, by its place. Raises `RunFailed` where the graph is."""
        errors = [self.parser.get_error(number) for number in range(self.parser.num_errors)]
        if any(error.node() < 0 for error in errors):
            raise refusal(self.parser)
        return {error.node(): words(error.desc()) for error in reversed(errors)}

    def taken(self) -> set[int]:
        """Places of the nodes in the pieces that the parser cuts the graph into."""
        return {node for piece in range(self.parser.num_subgraphs) for node in self.parser.get_subgraph_nodes(piece)}


def _by_operator(nodes: Sequence[Any], reasons: dict[int, str]) -> tuple[OperatorSupport, ...]:
    """The refused ones first, then the most frequent."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, node in enumerate(nodes):
        places[f"{node.domain}.{node.op_type}" if node.domain else node.op_type].append(place)
    found = []
    for op, held in places.items():
        refused = [place for place in held if place in reasons]
        names = tuple(nodes[place].name or nodes[place].output[0] for place in refused)
        found.append(
            OperatorSupport(op=op, count=len(held), refused=names, reason=reasons[refused[0]] if names else "")
        )
    return tuple(sorted(found, key=lambda each: (not each.refused, -each.count, each.op)))
