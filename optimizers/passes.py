"""A network run again and again on the same images, from its middle on. Imports torch: import it inside functions."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, fx, nn

from optimizers.quantization.selection import KINDS

_INSIDE = "network"
_FAILURES = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
"""What networks raise that are run with placeholders instead of tensors."""

_State = dict[fx.Node, Any]
"""Results that later ones are computed from."""


class _Whole(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.add_module(_INSIDE, network)

    def forward(self, x: Tensor) -> Any:
        return self.get_submodule(_INSIDE)(x)


class _Tracer(fx.Tracer):
    def __init__(self, *, takes_apart: bool) -> None:
        super().__init__()
        self._takes_apart = takes_apart

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_layer = isinstance(m, KINDS) or super().is_leaf_module(m, module_qualified_name)
        return not self._takes_apart or is_layer


class Passes:
    """Passes of a network in eval mode whose modules may be changed and hooked between them.

    What a pass has computed before a layer is kept, and the next one on the same batch begins there. A network whose
    code cannot be taken apart, because it decides by what is in tensors, is run as a whole each time.
    """

    def __init__(self, network: nn.Module, x: Tensor, *, most_bytes: int) -> None:
        """`x` are images that the taken-apart network has to answer alike; at most so many bytes are kept."""
        graph = _graph(network, x)
        self._nodes = tuple(graph.graph.nodes)
        self._run = fx.Interpreter(graph, garbage_collect_values=False)
        self._used_until = {before: place for place, node in enumerate(self._nodes) for before in node.all_input_nodes}
        self._kept: dict[int, tuple[int, _State]] = {}
        self._room = most_bytes
        self._seconds = [0.0] * len(self._nodes)

    def place_of(self, layer: str) -> int:
        """How many results are computed before the layer is called."""
        names = ((place, f"{node.target}.") for place, node in enumerate(self._nodes) if node.op == "call_module")
        return next((place for place, name in names if f"{_INSIDE}.{layer}.".startswith(name)), 0)

    def seconds_from(self, place: int) -> float:
        """What computing the rest has taken on the batches that were timed."""
        return sum(self._seconds[place:])

    def timed(self, x: Tensor) -> Tensor:
        """Logits[N, classes] for x[N, C, H, W], computed as a whole; how long each result takes is noted."""
        state: _State = {}
        for place in range(len(self._nodes)):
            began = time.perf_counter()
            self._step(place, state, x)
            if x.is_cuda:
                torch.cuda.synchronize(x.device)
            self._seconds[place] += time.perf_counter() - began
        return self._answer(state)

    def logits(self, x: Tensor, *, batch: int, place: int) -> Tensor:
        """Logits[N, classes] for x[N, C, H, W], always the same x under one number of a batch.

        Nothing may be changed in the network before `place`, which may not lie before that of earlier calls.
        """
        begin, kept = self._kept.get(batch, (0, {}))
        state = _copied(kept)
        for step in range(begin, len(self._nodes)):
            if step == place and begin < place:
                self._keep(batch, place, state)
            self._step(step, state, x)
        return self._answer(state)

    def _keep(self, batch: int, place: int, state: _State) -> None:
        """Hold what is computed so far instead of what was held for this batch, if there is room."""
        room = self._room + _bytes(self._kept.get(batch, (0, {}))[1]) - _bytes(state)
        if room >= 0:
            self._room = room
            self._kept[batch] = place, _copied(state)

    def _step(self, place: int, state: _State, x: Tensor) -> None:
        node = self._nodes[place]
        self._run.env = state
        state[node] = x if node.op == "placeholder" else self._run.run_node(node)
        for before in node.all_input_nodes:
            if self._used_until[before] == place:
                del state[before]

    def _answer(self, state: _State) -> Tensor:
        logits: Tensor = state[self._nodes[-1]]
        return logits


def _graph(network: nn.Module, x: Tensor) -> fx.GraphModule:
    """The network as a graph of its layers, where that answers alike; else as a graph with nothing but itself."""
    whole = _Whole(network)
    try:
        graph = fx.GraphModule(whole, _Tracer(takes_apart=True).trace(whole))
        if torch.allclose(graph(x), network(x), rtol=1e-4, atol=1e-5):
            return graph
    except _FAILURES:
        pass  # code that asks what is in its tensors has no graph; it is run as it stands
    return fx.GraphModule(whole, _Tracer(takes_apart=False).trace(whole))


def _copied(state: _State) -> _State:
    """The same, safe from what works in place later on."""
    return {node: value.clone() if isinstance(value, Tensor) else value for node, value in state.items()}


def _bytes(state: _State) -> int:
    return sum(value.numel() * value.element_size() for value in state.values() if isinstance(value, Tensor))
