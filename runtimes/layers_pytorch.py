"""Eager PyTorch, operation by operation: the exported program's graph, run node by node.

On a CPU each operation is timed where it is called, its dispatch included, as eager execution pays it. On a GPU its
time is that of the kernels it launched, from torch.profiler. The whole call is that of the program itself, which does
not have the interpreter's own cost, timed in turn with the interpreted one.
Imports torch: import it inside functions only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, fx

from core.data import Inputs
from core.layers import Layer, LayerKind, LayerProfile, sum_ms
from runtimes.layers_shared import (
    attention_macs,
    call_repeatedly,
    convolution_macs,
    matmul_macs,
    module_of,
    time_ms,
    warm_up,
)
from runtimes.layers_trace import calls_in, read_trace

PRECISIONS = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int8: "int8",
    torch.uint8: "int8",
}
MOST_TRACED_CALLS = 30

_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "convolution"})
_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
_FIRST_FACTOR = {
    "linear": 0, "mm": 0, "_int_mm": 0, "bmm": 0, "matmul": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1,
}  # fmt: skip
"""Which argument the first factor of a matrix product is."""
_ATTENTION = "scaled_dot_product_attention"
_NOT_COUNTED = frozenset({"einsum", "bilinear", "lstm", "gru", "rnn_tanh", "rnn_relu"})
"""They multiply, but how often is not told."""
_COMPUTE = _CONVOLUTIONS | _TRANSPOSED | _FIRST_FACTOR.keys() | _NOT_COUNTED | {_ATTENTION}
_CONVERSIONS = frozenset({"to", "_to_copy", "type_as", "contiguous"})
_CALL, _LAYER = "profiled call", "layer: "


def profile_eager(network: fx.GraphModule, device: torch.device, x: Inputs) -> LayerProfile:
    """Each operation's median on x[N, C, H, W]."""
    with torch.inference_mode():
        bound = torch.tensor(x, device=device)
        described = _Describer(network)
        described.run(bound)
        if device.type == "cuda":
            times, beyond, calls = _times_on_gpu(network, bound)
        else:
            times, beyond, calls = _times_on_cpu(network, bound)
    layers = tuple(
        layer.model_copy(update={"time_ms": round(times[name], 5)}) for name, layer in described.layers.items()
    )
    return LayerProfile(batch_size=len(x), calls=calls, call_ms=sum_ms(layers) + beyond, layers=layers)


def _times_on_cpu(network: fx.GraphModule, x: Tensor) -> tuple[dict[str, float], float, int]:
    """ms of each node, ms that a call takes beyond them, and the number of calls."""
    stopwatch = _Stopwatch(network)
    whole: list[float] = []

    def both() -> None:
        whole.append(time_ms(lambda: network(x)))
        stopwatch.run(x)

    warm_up(both)
    whole.clear()
    stopwatch.runs.clear()
    call_repeatedly(both)
    # In pairs, so that what slows down the machine for a while slows both.
    beyond = [call - sum(run.values()) for call, run in zip(whole, stopwatch.runs, strict=True)]
    times = {name: median(run[name] for run in stopwatch.runs) for name in stopwatch.runs[0]}
    return times, max(0.0, median(beyond)), len(whole)


def _times_on_gpu(network: fx.GraphModule, x: Tensor) -> tuple[dict[str, float], float, int]:
    """As on a CPU; what a call takes beyond its kernels is launching them."""
    from torch.profiler import ProfilerActivity, profile, record_function

    annotator = _Annotator(network)

    def plain() -> None:
        network(x)
        torch.cuda.synchronize(x.device)

    def traced() -> None:
        with record_function(_CALL):
            annotator.run(x)
            torch.cuda.synchronize(x.device)

    warm_up(traced)
    warm_up(plain)
    whole = median(call_repeatedly(plain))
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        call_repeatedly(traced, most=MOST_TRACED_CALLS)
    calls = calls_in(read_trace(profiler), call=_CALL, holds=lambda name: name == _CALL, on_gpu=True)
    collected: dict[str, list[float]] = defaultdict(list)
    for operation in (operation for call in calls for operation in call.operations):
        collected[operation.name.removeprefix(_LAYER)].append(operation.took_us / 1000)
    times = {name: median(collected[name]) if collected[name] else 0.0 for name in annotator.names}
    return times, whole - sum(times.values()), len(calls)


class _Interpreter(fx.Interpreter):
    """Runs a graph and lets a subclass stand around every operation on tensors."""

    def run_node(self, n: fx.Node) -> Any:
        self._node = n
        return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(target, torch._ops.OpOverload) or ".sym_" in str(target):
            return super().call_function(target, args, kwargs)
        return self.operate(self._node, target, args, kwargs)

    def operate(self, node: fx.Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operation returns."""
        raise NotImplementedError


class _Stopwatch(_Interpreter):
    """Keeps ms of every operation of every run."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.runs: list[dict[str, float]] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.runs.append({})
        return super().run(*args, **kwargs)

    def operate(self, node: fx.Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        began = perf_counter_ns()
        result = target(*args, **kwargs)
        self.runs[-1][node.name] = (perf_counter_ns() - began) / 1e6
        return result


class _Annotator(_Interpreter):
    """Names every operation in the profiler's trace."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.names: dict[str, None] = {}

    def operate(self, node: fx.Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.names[node.name] = None
        with torch.profiler.record_function(_LAYER + node.name):
            return target(*args, **kwargs)


class _Describer(_Interpreter):
    """Collects what every operation is, by its node's name, without times."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.layers: dict[str, Layer] = {}
        self._constants = _constants(network.graph)

    def operate(self, node: fx.Node, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = target(*args, **kwargs)
        if str(target).startswith("aten._assert"):
            return result
        self.layers[node.name] = _describe(node, target, args, result, self._constants)
        return result


def _constants(graph: fx.Graph) -> dict[fx.Node, str]:
    """Nodes that are the same for every input, such as unpacked weights, with the attribute that they come from."""
    found: dict[fx.Node, str] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            found[node] = str(node.target).replace(".parametrizations", "")
        elif (
            node.op == "call_function" and node.all_input_nodes and all(each in found for each in node.all_input_nodes)
        ):
            found[node] = found[node.all_input_nodes[0]]
    return found


def _describe(
    node: fx.Node, target: Any, args: tuple[Any, ...], result: Any, constants: Mapping[fx.Node, str]
) -> Layer:
    op = str(target).split(".")[1]
    tensors = [(source, value) for source, value in zip(node.args, args, strict=True) if isinstance(value, Tensor)]
    fixed = {
        constants[source]: value for source, value in tensors if isinstance(source, fx.Node) and source in constants
    }
    inputs = [value for source, value in tensors if source not in constants]
    weight = next((value for value in fixed.values() if value.dim() >= 2), None) if op in _COMPUTE else None
    moves = not _is_view(target, (value for _, value in tensors), result)
    return Layer(
        name=next((module for name in fixed if (module := module_of(name))), node.name),
        op=str(target).removesuffix(".default"),
        kind=_kind(op),
        time_ms=0,
        precision=_precision(op, [*inputs, *fixed.values()]),
        macs=_macs(op, args, result),
        weight_bytes=moves * sum(value.nbytes for value in fixed.values()),
        input_bytes=moves * sum(value.nbytes for value in inputs),
        output_bytes=moves * sum(value.nbytes for value in _tensors(result)),
        channels=_channels(op, weight, args),
        groups=_groups(op, args),
        output_shape=next((tuple(value.shape) for value in _tensors(result)), None),
    )


def _is_view(target: Any, inputs: Iterable[Tensor], result: Any) -> bool:
    """Whether all results are other views of inputs that stay as they are, so that nothing passes through memory."""
    memory = {value.untyped_storage()._cdata for value in inputs}
    results = [value.untyped_storage()._cdata for value in _tensors(result)]
    return bool(results) and memory.issuperset(results) and not target._schema.is_mutable


def _kind(op: str) -> LayerKind:
    return "compute" if op in _COMPUTE else "conversion" if op in _CONVERSIONS else "other"


def _precision(op: str, tensors: list[Tensor]) -> str:
    first = next((tensor for tensor in tensors if tensor.dtype in PRECISIONS), None)
    if first is None:
        return str(tensors[0].dtype).removeprefix("torch.") if tensors else "none"
    if first.is_cuda and first.dtype == torch.float32 and op in _COMPUTE and uses_tf32(op):
        return "tf32"
    return PRECISIONS[first.dtype]


def uses_tf32(op: str) -> bool:
    """Whether a GPU multiplies float32 in TF32 there: convolutions do unless told otherwise, products do not."""
    if torch.cuda.get_device_capability() < (8, 0):
        return False
    is_convolution = op in _CONVOLUTIONS | _TRANSPOSED
    return bool(torch.backends.cudnn.allow_tf32 if is_convolution else torch.backends.cuda.matmul.allow_tf32)


def _macs(op: str, args: tuple[Any, ...], result: Any) -> int:
    if op in _CONVOLUTIONS:
        return convolution_macs(result.shape, args[1].shape, output_channels=result.shape[1])
    if op in _TRANSPOSED:
        return convolution_macs(args[0].shape, args[1].shape, output_channels=args[0].shape[1])
    if op in _FIRST_FACTOR:
        return matmul_macs(result.shape, args[_FIRST_FACTOR[op]].shape[-1])
    return attention_macs(*(tensor.shape for tensor in args[:3])) if op == _ATTENTION else 0


def _channels(op: str, weight: Tensor | None, args: tuple[Any, ...]) -> tuple[int, int] | None:
    if weight is None:
        return None
    if op in _CONVOLUTIONS:
        return weight.shape[1] * _groups(op, args), weight.shape[0]
    return (weight.shape[-1], weight.shape[-2]) if op == "linear" else (weight.shape[-2], weight.shape[-1])


def _groups(op: str, args: tuple[Any, ...]) -> int:
    """Seventh argument of a convolution, ninth of the general one; 1 where it is left out."""
    place = {"convolution": 8}.get(op, 6) if op in _CONVOLUTIONS else len(args)
    return int(args[place]) if place < len(args) else 1


def _tensors(result: Any) -> Iterator[Tensor]:
    yield from (each for each in (result if isinstance(result, tuple | list) else [result]) if isinstance(each, Tensor))
