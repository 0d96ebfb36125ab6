"""A `.tflite` file computed by LiteRT's own kernels, without XNNPACK, beside which engines' answers to it are laid.

Imports LiteRT inside functions; no torch anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.data import Floats, Inputs
from core.tflite_ends import Kernels
from core.tflite_file import Operator, TfliteFile
from core.tflite_session import TfliteSession

IMAGES_AT_ONCE = 32
_GRIDS = ("QUANTIZE", "DEQUANTIZE")
_OUTPUTS = 8
"""The entry of a graph's table that says where its outputs stand."""


def reference(content: bytes, *, threads: int = 1) -> Callable[[Inputs], Floats]:
    """What gives float32 logits[N, classes] of x[N, C, H, W] on the CPU."""
    session = TfliteSession(content, "own", threads)

    def logits(x: Inputs) -> Floats:
        starts = range(0, len(x), IMAGES_AT_ONCE)
        return np.concatenate([session.run(x[start : start + IMAGES_AT_ONCE]) for start in starts])

    return logits


def tensors_in(content: bytes) -> tuple[str, ...]:
    """Names of what the operators make, in order; without what only changes the number format."""
    file = TfliteFile(content)
    kept = (each for each in file.operators if each.name not in _GRIDS or file.output in each.outputs)
    return tuple(file.name(index) for operator in kept for index in operator.outputs)


def tensor_of(content: bytes, name: str, x: Inputs, *, kernels: Kernels, threads: int) -> Floats:
    """The tensor of that name for x[N, C, H, W], as float32 in the file's own layout.

    It is computed as when serving, as the output in the place of the logits.
    """
    with TfliteSession(_with_other_output(content, name), kernels, threads) as session:
        return session.output(x)


@dataclass(frozen=True)
class TfliteValue:
    """One intermediate result."""

    op: str
    """`CONV_2D`."""
    module: str
    """The name of the weights that it is made with or, without any, its own."""
    is_layer: bool
    """Whether it is made with weights."""
    sources: tuple[str, ...]
    """Names of the results it is computed from directly."""


@dataclass(frozen=True, eq=False)
class TfliteTrace:
    """A file's intermediate results by name, each of which can be computed as the file says."""

    content: bytes
    threads: int = 1

    @cached_property
    def values(self) -> Mapping[str, TfliteValue]:
        """In the order of computation; what does not depend on the input is left out."""
        file, found = TfliteFile(self.content), dict[str, TfliteValue]()
        weights = {operator.outputs: file.name(index) for operator, index in file.weights()}
        for operator in file.operators:
            sources = tuple(name for index in _given(operator) if (name := file.name(index)) in found)
            if sources or file.input in operator.inputs:
                layer = weights.get(operator.outputs)
                for name in map(file.name, operator.outputs):
                    found[name] = TfliteValue(operator.name, layer or name, layer is not None, sources)
        return found

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Of every result those that it is computed from directly."""
        return {name: value.sources for name, value in self.values.items()}

    def shown_by(self, tensors: Collection[str]) -> tuple[str, ...]:
        """Those of an artifact's tensors that the file has and that its logits depend on, in order."""
        file = TfliteFile(self.content)
        needed = {file.name(file.output)}
        for name in reversed(list(self.values)):
            if name in needed:
                needed.update(self.values[name].sources)
        return tuple(name for name in self.values if name in needed.intersection(tensors))

    def layers(self, names: Collection[str]) -> tuple[str, ...]:
        """What computes these results: the weights, where there are any."""
        values = [self.values[name] for name in names]
        found = [value.module for value in values if value.is_layer] or [value.module for value in values]
        return tuple(dict.fromkeys(found))

    def compute(self, name: str, x: Inputs) -> Floats:
        """The tensor of that name for x[N, C, H, W], as float32."""
        return tensor_of(self.content, name, x, kernels="own", threads=self.threads)


def _given(operator: Operator) -> tuple[int, ...]:
    return tuple(index for index in operator.inputs if index >= 0)


def _with_other_output(content: bytes, name: str) -> bytes:
    """The same file with that tensor as its output."""
    from ai_edge_litert import schema_py_generated as schema

    file, changed = TfliteFile(content), bytearray(content)
    table = schema.Model.GetRootAs(changed).Subgraphs(0)._tab
    struct.pack_into("<i", changed, table.Vector(table.Offset(_OUTPUTS)), file.index_of(name))
    return bytes(changed)
