"""An ONNX graph computed as it stands, nothing fused or rewritten: what engines' answers to it are compared with.

Imports onnx and onnxruntime inside functions; no torch anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from core.data import Floats, Inputs
from core.onnx_export import LAYERS
from core.onnx_macs import constants_of

_WEIGHT_PLACE = 1


def reference(content: bytes, *, threads: int = 1) -> Callable[[Inputs], Floats]:
    """What gives float32 logits[N, classes] of x[N, C, H, W] on the CPU."""
    session = _session(content, threads)

    def logits(x: Inputs) -> Floats:
        found: Floats = session.run(["logits"], {"input": x})[0]
        return np.asarray(found, np.float32)

    return logits


def tensors_of(content: bytes, names: Collection[str], x: Inputs, *, threads: int = 1) -> dict[str, Floats]:
    """These tensors, as float32, as they are on the way from x[N, C, H, W] to the logits."""
    import onnx

    model = onnx.load_from_string(content)
    wanted = list(dict.fromkeys(names))
    given = {"input": x} if "input" in wanted else {}
    asked = [name for name in wanted if name not in given]
    if asked:
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked)
        values = _session(model.SerializeToString(), threads).run(asked, {"input": x})
        given |= dict(zip(asked, values, strict=True))
    return {name: np.asarray(given[name], np.float32) for name in wanted}


def _session(content: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])


@dataclass(frozen=True)
class GraphValue:
    """One intermediate result."""

    op: str
    """`Conv`."""
    module: str
    """The name of the node that computes it."""
    is_layer: bool
    """Whether that node has weights."""
    sources: tuple[str, ...]
    """Names of the results it is computed from directly."""


@dataclass(frozen=True, eq=False)
class GraphTrace:
    """A graph's intermediate results by name, each of which can be computed as the graph says."""

    content: bytes
    threads: int = 1

    @cached_property
    def values(self) -> Mapping[str, GraphValue]:
        """In the order of computation; what does not depend on the input is left out."""
        import onnx

        graph = onnx.load_from_string(self.content).graph
        constants, found = constants_of(graph), dict[str, GraphValue]()
        for node in graph.node:
            sources = tuple(name for name in node.input if name in found)
            if sources or "input" in node.input:
                is_layer = node.op_type in LAYERS and node.input[_WEIGHT_PLACE] in constants
                value = GraphValue(node.op_type, node.name or node.op_type, is_layer, sources)
                found |= {name: value for name in node.output if name}
        return found

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Of every result those that it is computed from directly."""
        return {name: value.sources for name, value in self.values.items()}

    def shown_by(self, tensors: Collection[str]) -> tuple[str, ...]:
        """Those of an artifact's tensors that the graph has and that its logits depend on, in order."""
        needed = {"logits"}
        for name in reversed(list(self.values)):
            if name in needed:
                needed.update(self.values[name].sources)
        return tuple(name for name in self.values if name in needed.intersection(tensors))

    def layers(self, names: Collection[str]) -> tuple[str, ...]:
        """The nodes that compute these results: those with weights, where there are any."""
        values = [self.values[name] for name in names]
        found = [value.module for value in values if value.is_layer] or [value.module for value in values]
        return tuple(dict.fromkeys(found))

    def compute(self, name: str, x: Inputs) -> Floats:
        """The tensor of that name for x[N, C, H, W], as float32."""
        return tensors_of(self.content, [name], x, threads=self.threads)[name]
