"""ONNX Runtime's own profile, read layer by layer.

The profile names nodes of the optimised graph and the types and shapes they really ran with, but not the weights that
were repacked beforehand; those come from the optimised graph, which the same session writes. Where the engine padded
channels to its vector blocks, the graph as it was exported says how many there are.
Imports onnx and onnxruntime: import it inside functions only.
"""

from __future__ import annotations

import json
import re
import tempfile
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import onnx
import onnxruntime

from core.data import Inputs
from core.layers import BITS, Layer, LayerKind, LayerProfile, middle_mean, sum_ms
from runtimes.layers_shared import (
    call_repeatedly,
    convolution_macs,
    matmul_macs,
    module_of,
    time_ms,
    warm_up,
)
from runtimes.onnx_file import left_out_rewriting
from runtimes.onnx_profiler_cost import profiler_cost_us

_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger", "ConvTranspose"})
_GEMMS = frozenset({"Gemm", "FusedGemm", "QGemm"})
_MATMULS = frozenset(
    {"MatMul", "FusedMatMul", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
    | {"MatMulNBits"}
)
_ATTENTIONS = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"})
_COMPUTE = _CONVOLUTIONS | _GEMMS | _MATMULS | _ATTENTIONS
_CONVERSIONS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "ReorderInput", "ReorderOutput"}
    | {"MemcpyFromHost", "MemcpyToHost"}
)
_LAYOUT_SWAPS = ([0, 2, 3, 1], [0, 3, 1, 2])
_PRECISIONS = {
    "float": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "double": "fp64",
    "uint8": "int8",
    "int8": "int8",
}
_INT8_ACTIVATIONS = 4
_SUFFIX = "_kernel_time"


def profile_onnx(path: Path, *, threads: int, x: Inputs, level: str = "ORT_ENABLE_ALL") -> LayerProfile:
    """Each node's typical time over some 100 calls on x[N, C, H, W], on the CPU; profiled and plain calls in turn.

    `level` is how far the graph is rewritten, by the name of a `GraphOptimizationLevel`.
    """
    exported = _with_names(onnx.load(path))
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = _open(path, _options(threads, level), x)
        onnx.save(exported, Path(folder) / "exported.onnx")
        profiled, options = _open(Path(folder) / "exported.onnx", _options(threads, level), x, folder=Path(folder))
        warm_up(plain.infer)
        warming = warm_up(profiled.infer)
        whole_ms: list[float] = []

        def both() -> None:
            whole_ms.append(time_ms(plain.infer))
            profiled.infer()

        call_repeatedly(both)
        events = json.loads(Path(profiled.session.end_profiling()).read_text())
        executed = _Graph(onnx.load(options.optimized_model_filepath))
    runs = _runs(events)[warming:]
    cost_us = _cost_us(threads, whole_ms, runs)
    layers = tuple(_layers(runs, cost_us, executed, _Graph(exported)))
    call_ms = sum_ms(layers) + max(0.0, _beyond_ms(cost_us, whole_ms, runs))
    return LayerProfile(batch_size=len(x), calls=len(runs), call_ms=call_ms, layers=layers, resolution_ms=0.001)


def recorded_calls(path: Path, *, threads: int, x: Inputs, level: str, calls: int) -> list[dict[str, Any]]:
    """The events of the loading and of so many calls, in the order of their beginning, as the engine wrote them."""
    with tempfile.TemporaryDirectory() as folder:
        opened, _ = _open(path, _options(threads, level), x, folder=Path(folder))
        warming = warm_up(opened.infer)
        for _ in range(calls):
            opened.infer()
        events = json.loads(Path(opened.session.end_profiling()).read_text())
    ordered = sorted(events, key=lambda event: event["ts"])
    starts = [event["ts"] for event in ordered if event["name"] == "model_run"]
    return [event for event in ordered if not starts[0] <= event["ts"] < starts[warming]]


def _with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a name of its own for every node: in the profile they have nothing else."""
    taken = Counter(node.name for node in model.graph.node)
    for place, node in enumerate(model.graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.op_type}_{place}_of_{len(model.graph.node)}"
    return model


def _cost_us(threads: int, whole_ms: Sequence[float], runs: Sequence[_Run]) -> float:
    """What the profiler takes in each node: as measured, or up to twice that for the nodes to fit into the plain call.

    It takes longer in nodes with many inputs than in those it was measured on.
    """
    cost_us = profiler_cost_us(threads)
    too_long_us = max(0.0, -1000 * _beyond_ms(cost_us, whole_ms, runs))
    return cost_us + min(cost_us, too_long_us / max(1, len(runs[0].nodes)))


def _beyond_ms(cost_us: float, whole_ms: Sequence[float], runs: Sequence[_Run]) -> float:
    """What a plain call takes beyond its nodes; from pairs, as what slows down the machine for a while slows both."""
    return median(ms - run.nodes_us(cost_us) / 1000 for ms, run in zip(whole_ms, runs, strict=True))


@dataclass(frozen=True)
class _Opened:
    session: Any
    infer: Callable[[], None]


def _options(threads: int, level: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    return options


def _open(path: Path, options: Any, x: Inputs, folder: Path | None = None) -> tuple[_Opened, Any]:
    """A session as it serves; with a folder, one that writes its profile and its optimised graph there."""
    if folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(
        path, options, ["CPUExecutionProvider"], disabled_optimizers=left_out_rewriting(path)
    )
    binding = session.io_binding()
    binding.bind_cpu_input("input", x)
    binding.bind_output("logits")
    return _Opened(session, lambda: session.run_with_iobinding(binding)), options


@dataclass(frozen=True)
class _Run:
    """One profiled inference: the events of its nodes in the order of execution."""

    nodes: list[dict[str, Any]]

    def nodes_us(self, cost_us: float) -> float:
        """All of them together, without what the profiler takes in each."""
        return sum(max(0.0, float(event["dur"]) - cost_us) for event in self.nodes)


def _runs(events: Iterable[dict[str, Any]]) -> list[_Run]:
    ordered = sorted(events, key=lambda event: event["ts"])
    starts = [event["ts"] for event in ordered if event["name"] == "model_run"]
    runs = [_Run([]) for _ in starts]
    for event in ordered:
        if event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            runs[bisect_right(starts, event["ts"]) - 1].nodes.append(event)
    return runs


def _layers(runs: list[_Run], cost_us: float, executed: _Graph, exported: _Graph) -> Iterator[Layer]:
    times: dict[str, list[float]] = defaultdict(list)
    for event in (event for run in runs for event in run.nodes):
        times[event["args"]["node_index"]].append(max(0.0, event["dur"] - cost_us))
    for event in runs[0].nodes:
        took_ms = middle_mean(times[event["args"]["node_index"]]) / 1000
        yield _layer(event, round(took_ms, 5), executed, exported)


def _layer(event: dict[str, Any], time_ms: float, executed: _Graph, exported: _Graph) -> Layer:
    name, facts = event["name"].removesuffix(_SUFFIX), event["args"]
    node = executed.nodes.get(name)
    source = exported.source_of(name)
    shapes = _Shapes.of(event)
    weight = (source and exported.weight(source)) or (node and executed.weight(node)) or None
    is_multiplied = facts["op_name"] in _COMPUTE
    channels = _channels(facts["op_name"], node, weight) if is_multiplied else None
    return Layer(
        name=(is_multiplied and weight and module_of(weight.name)) or (source.name if source else name),
        op=facts["op_name"],
        kind=_kind(facts["op_name"], node, is_new=source is None),
        time_ms=time_ms,
        precision=_precision(shapes, node),
        macs=_macs(shapes, node, executed, weight) if is_multiplied else 0,
        weight_bytes=executed.weight_bytes(node) if node and is_multiplied else 0,
        input_bytes=int(facts["activation_size"]),
        output_bytes=int(facts["output_size"]),
        channels=channels,
        groups=_attribute(node, "group", 1),
        padding=_padding(node, executed, weight) if is_multiplied else 0.0,
        output_shape=_output_shape(shapes, node, channels),
    )


def _kind(op: str, node: onnx.NodeProto | None, *, is_new: bool) -> LayerKind:
    if op in _COMPUTE:
        return "compute"
    # The engine turns images around channels-last kernels by transpositions that the model does not have.
    swaps = is_new and op == "Transpose" and _attribute(node, "perm", []) in _LAYOUT_SWAPS
    return "conversion" if op in _CONVERSIONS or swaps else "other"


@dataclass(frozen=True)
class _Shapes:
    """What a node ran with."""

    op: str
    inputs: list[tuple[str, list[int]]]
    """(type, shape); repacked weights are missing."""
    output: list[int]

    @classmethod
    def of(cls, event: dict[str, Any]) -> _Shapes:
        facts = event["args"]
        pairs = [next(iter(entry.items())) for entry in facts["input_type_shape"]]
        outputs = [next(iter(entry.values())) for entry in facts["output_type_shape"]]
        return cls(facts["op_name"], pairs, outputs[0] if outputs else [])

    @property
    def precision(self) -> str:
        """Of what it multiplies or moves; integers that are indices keep the name of their type."""
        if self.op.startswith("Dynamic"):
            return "int8"
        types = [_PRECISIONS.get(kind, kind) for kind, _ in self.inputs]
        return next((kind for kind in types if kind in BITS), types[0] if types else "none")


def _precision(shapes: _Shapes, node: onnx.NodeProto | None) -> str:
    """Packed weights are multiplied as floats, unless the node may round what comes in to INT8."""
    if shapes.op == "MatMulNBits":
        rounds = _attribute(node, "accuracy_level", 0) == _INT8_ACTIVATIONS
        return "int8" if rounds else f"w{_attribute(node, 'bits', 4)}"
    return shapes.precision


@dataclass(frozen=True)
class _Weight:
    name: str
    shape: list[int]


def _macs(shapes: _Shapes, node: onnx.NodeProto | None, executed: _Graph, weight: _Weight | None) -> int:
    first = shapes.inputs[0][1] if shapes.inputs else []
    if shapes.op in _CONVOLUTIONS and weight:
        if shapes.op == "ConvTranspose":
            return convolution_macs(first, weight.shape, output_channels=weight.shape[0])
        padded = executed.weight(node) if node else None
        return convolution_macs(shapes.output, weight.shape, output_channels=(padded or weight).shape[0])
    if shapes.op in _GEMMS and first:
        return matmul_macs(shapes.output, prod(first) // shapes.output[0])
    if shapes.op in _MATMULS and first:
        return matmul_macs(shapes.output, first[-2 if _attribute(node, "transA", 0) else -1])
    return 0


def _channels(op: str, node: onnx.NodeProto | None, weight: _Weight | None) -> tuple[int, int] | None:
    if weight is None or len(weight.shape) < 2:
        return None
    if op == "MatMulNBits":
        return _attribute(node, "K", 0), _attribute(node, "N", 0)
    first, second = weight.shape[0], weight.shape[1]
    if op in _CONVOLUTIONS and op != "ConvTranspose":
        return second * _attribute(node, "group", 1), first
    return (second, first) if _attribute(node, "transB", 0) else (first, second)


def _output_shape(
    shapes: _Shapes, node: onnx.NodeProto | None, channels: tuple[int, int] | None
) -> tuple[int, ...] | None:
    """As the model has it: a convolution's channels come second, and those that fill up a block are left out."""
    batch, *rest = shapes.output or (0,)
    if shapes.op in _CONVOLUTIONS and channels:
        sides = rest[:-1] if shapes.op == "NhwcFusedConv" or _attribute(node, "channels_last", 0) else rest[1:]
        rest = [channels[1], *sides]
    return (batch, *rest) if shapes.output else None


def _padding(node: onnx.NodeProto | None, executed: _Graph, weight: _Weight | None) -> float:
    """Of weights that the engine filled up to whole blocks of channels."""
    filled = executed.weight(node) if node else None
    return 1 - prod(weight.shape) / prod(filled.shape) if filled and weight else 0.0


def _attribute(node: onnx.NodeProto | None, name: str, default: Any) -> Any:
    found = next((each for each in node.attribute if each.name == name), None) if node else None
    return onnx.helper.get_attribute_value(found) if found is not None else default


class _Graph:
    """A graph's nodes, by name and by the tensors they make, and its constant tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = {node.name: node for node in model.graph.node}
        self._constants = {constant.name: constant for constant in model.graph.initializer}

    @cached_property
    def _makers(self) -> dict[str, onnx.NodeProto]:
        return {tensor: node for node in self.nodes.values() for tensor in node.output}

    def source_of(self, name: str) -> onnx.NodeProto | None:
        """The node that the engine's node of that name was made from.

        The engine numbers copies (`_token_3`), appends what it fused after a slash, and calls a blocked convolution
        after the tensor it makes, which may be that of an activation or a sum behind it.
        """
        plain = re.sub(r"_token_\d+$", "", name).split("/")[0]
        if plain.endswith("_nchwc"):
            return self._layer_behind(plain.removesuffix("_nchwc"))
        return self.nodes.get(plain)

    def _layer_behind(self, tensor: str) -> onnx.NodeProto | None:
        maker = self._makers.get(tensor)
        while maker is not None and maker.op_type not in _COMPUTE:
            maker = self._makers.get(maker.input[0]) if maker.input else None
        return maker

    def weight(self, node: onnx.NodeProto) -> _Weight | None:
        """The constant tensor that a layer multiplies by, through a DequantizeLinear if need be; None without one."""
        for tensor in node.input[1:]:
            maker = self._makers.get(tensor)
            if maker is not None and maker.op_type == "DequantizeLinear":
                tensor = maker.input[0]
            if (constant := self._constants.get(tensor)) is not None and len(constant.dims) >= 2:
                return _Weight(tensor, list(constant.dims))
        return None

    def weight_bytes(self, node: onnx.NodeProto) -> int:
        """All constants of a node together, as it runs with them."""
        constants = (self._constants[tensor] for tensor in node.input if tensor in self._constants)
        return sum(
            prod(each.dims) * onnx.helper.tensor_dtype_to_np_dtype(each.data_type).itemsize for each in constants
        )
