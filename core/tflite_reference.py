"""A `.tflite` file computed by LiteRT's own kernels, without XNNPACK, beside which engines' answers to it are laid.

Imports LiteRT inside functions; no torch anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from core.data import Floats, Inputs
from core.tflite_ends import Kernels
from core.tflite_file import Operator, TfliteFile
from core.tflite_session import TfliteSession
from core.trace import Trace, Value

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


def tflite_trace(content: bytes, *, threads: int = 1) -> Trace:
    """A file's intermediate results by name, each of which can be computed as the file says."""
    file, values = TfliteFile(content), dict[str, Value]()
    weights = {operator.outputs: file.name(index) for operator, index in file.weights()}
    for operator in file.operators:
        sources = tuple(name for index in _given(operator) if (name := file.name(index)) in values)
        if sources or file.input in operator.inputs:
            layers = (weights[operator.outputs],) if operator.outputs in weights else ()
            for name in map(file.name, operator.outputs):
                values[name] = Value(operator.name, layers[0] if layers else name, layers, sources)

    def compute(name: str, x: Inputs) -> Floats:
        return tensor_of(content, name, x, kernels="own", threads=threads)

    return Trace(values, frozenset(values), file.name(file.output), compute)


def _given(operator: Operator) -> tuple[int, ...]:
    return tuple(index for index in operator.inputs if index >= 0)


def _with_other_output(content: bytes, name: str) -> bytes:
    """The same file with that tensor as its output."""
    from ai_edge_litert import schema_py_generated as schema

    file, changed = TfliteFile(content), bytearray(content)
    table = schema.Model.GetRootAs(changed).Subgraphs(0)._tab
    struct.pack_into("<i", changed, table.Vector(table.Offset(_OUTPUTS)), file.index_of(name))
    return bytes(changed)
