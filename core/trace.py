"""What a network computes on the way to its logits, by name, whatever the network is written in.

`torch_trace`, `onnx_reference` and `tflite_reference` read it out of programs, graphs and files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from core.data import Floats, Inputs


@dataclass(frozen=True)
class Value:
    """One intermediate result."""

    op: str
    """`aten.conv2d`, `Conv`, `CONV_2D`."""
    module: str
    """The innermost part of the network that computes it: a module, a node, or the weights of a `.tflite` file."""
    layers: tuple[str, ...]
    """The parts with weights that it is computed from directly."""
    sources: tuple[str, ...]
    """Names of the results it is computed from directly."""


@dataclass(frozen=True, eq=False)
class Trace:
    """A network as a graph of named results that can be computed one by one, in float32 on the CPU."""

    values: Mapping[str, Value]
    """In the order of computation; what does not depend on the input is left out."""
    comparable: frozenset[str]
    """Those of them that are tensors of floats, and that an artifact with a tensor of that name has, too."""
    output: str
    """The name of the logits."""
    compute: Callable[[str, Inputs], Floats]
    """Gives the tensor of that name for x[N, C, H, W]: float32, of whatever shape it has."""

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Of every result those that it is computed from directly."""
        return {name: value.sources for name, value in self.values.items()}

    def shown_by(self, tensors: Collection[str]) -> tuple[str, ...]:
        """Those of an artifact's tensors that can be compared and that the logits depend on, in order."""
        needed = {self.output}
        for name in reversed(list(self.values)):
            if name in needed:
                needed.update(self.values[name].sources)
        return tuple(name for name in self.values if name in needed & self.comparable.intersection(tensors))

    def layers(self, names: Collection[str]) -> tuple[str, ...]:
        """The parts that compute these results: those with weights, where there are any."""
        values = [self.values[name] for name in names]
        found = [layer for value in values for layer in value.layers] or [value.module for value in values]
        return tuple(dict.fromkeys(name for name in found if name))
