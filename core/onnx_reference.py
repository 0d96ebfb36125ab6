"""An ONNX graph computed as it stands, nothing fused or rewritten: what engines' answers to it are compared with.

Imports onnx and onnxruntime inside functions; no torch anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from core.data import Floats, Inputs
from core.onnx_export import LAYERS
from core.onnx_macs import constants_of
from core.trace import Trace, Value

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


def graph_trace(content: bytes, *, threads: int = 1) -> Trace:
    """A graph's intermediate results by name, each of which can be computed as the graph says."""
    import onnx

    graph = onnx.load_from_string(content).graph
    constants, values = constants_of(graph), dict[str, Value]()
    for node in graph.node:
        sources = tuple(name for name in node.input if name in values)
        if sources or "input" in node.input:
            module = node.name or node.op_type
            has_weights = node.op_type in LAYERS and node.input[_WEIGHT_PLACE] in constants
            value = Value(node.op_type, module, (module,) if has_weights else (), sources)
            values |= {name: value for name in node.output if name}

    def compute(name: str, x: Inputs) -> Floats:
        return tensors_of(content, [name], x, threads=threads)[name]

    return Trace(values, frozenset(values), "logits", compute)
