"""What ONNX Runtime's profiler adds to the time that it reports for a node.

While a node's clock still runs, the profiler writes down its types and shapes. That takes some two microseconds, more
than many a node itself, so it is measured and subtracted.
Imports onnx and onnxruntime: import it inside functions only.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from core.layers import middle_mean

_NODES, _FEW_NODES = 64, 4
_CALLS = 100


def profiler_cost_us(threads: int) -> float:
    """Per node: what it reports for nodes that do next to nothing, minus what these take without the profiler."""
    long, short = _chain(_NODES), _chain(_FEW_NODES)
    alone_us = (_call_us(long, threads) - _call_us(short, threads)) / (_NODES - _FEW_NODES)
    return max(0.0, _reported_us(long, threads) - max(0.0, alone_us))


def _chain(nodes: int) -> bytes:
    """Sums of two numbers, one after the other."""
    sums = [helper.make_node("Sum", [f"y{place}", "x"], [f"y{place + 1}"], name=f"n{place}") for place in range(nodes)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y0", f"y{nodes}")]
    graph = helper.make_graph(sums, "chain", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _session(model: bytes, threads: int, profile_prefix: str | None = None) -> tuple[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile_prefix:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    binding = session.io_binding()
    for argument in session.get_inputs():
        binding.bind_cpu_input(argument.name, np.zeros(1, np.float32))
    binding.bind_output(session.get_outputs()[0].name)
    return session, binding


def _call_us(model: bytes, threads: int) -> float:
    session, binding = _session(model, threads)
    times = []
    for _ in range(_CALLS):
        began = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        times.append((time.perf_counter_ns() - began) / 1000)
    return median(times)


def _reported_us(model: bytes, threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        session, binding = _session(model, threads, str(Path(folder) / "profile"))
        for _ in range(_CALLS):
            session.run_with_iobinding(binding)
        events = json.loads(Path(session.end_profiling()).read_text())
    return middle_mean([event["dur"] for event in events if event["name"].endswith("_kernel_time")])
