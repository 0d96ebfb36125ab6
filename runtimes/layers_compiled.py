"""torch.compile, kernel by kernel: what the compiled graph calls, from torch.profiler.

Convolutions and matrix products stay PyTorch's own operations and show their shapes; everything between them is fused
into generated kernels, which show their names. Imports torch: import it inside functions only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from math import prod
from statistics import median
from typing import Any

import torch
from torch import fx
from torch.profiler import ProfilerActivity, profile, record_function

from core.data import Inputs
from core.errors import Unavailable
from core.layers import BITS, Layer, LayerProfile
from runtimes.layers_pytorch import MOST_TRACED_CALLS, uses_tf32
from runtimes.layers_shared import attention_macs, call_repeatedly, convolution_macs, matmul_macs, warm_up
from runtimes.layers_trace import Operation, calls_in, read_trace

_CALL = "profiled call"
_GRAPH = "## Call CompiledFxGraph"
_CONVOLUTIONS = {
    "aten::convolution": (1, 3, 4, 8),
    "mkldnn::_convolution_pointwise": (1, 4, 3, 6),
    "onednn::qconv_pointwise": (3, 7, 8, 10),
    "onednn::qconv2d_pointwise": (3, 8, 9, 11),
}
"""Which arguments weights, strides, padding and groups are; dilation stands behind the later of strides and padding."""
_FIRST_FACTOR = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::baddbmm": 1, "aten::_int_mm": 0}
_LINEAR = {"mkl::_mkl_linear": 2, "mkldnn::_linear_pointwise": 1, "onednn::qlinear_pointwise": 3}
"""Which argument holds the weights, in either order of their two sides."""
_WITH_WEIGHTS = {"aten::mm": 1, "aten::addmm": 2, "aten::_int_mm": 1} | _LINEAR
_ATTENTION = "aten::_scaled_dot_product"
_CONVERSIONS = ("aten::to", "aten::_to_copy", "aten::copy_", "Memcpy")
_PRECISIONS = {"float": "fp32", "c10::BFloat16": "bf16", "c10::Half": "fp16", "double": "fp64"} | dict.fromkeys(
    ("signed char", "unsigned char"), "int8"
)


def profile_compiled(
    network: fx.GraphModule, device: torch.device, x: Inputs, *, fixed: bool = False, mode: str | None = None
) -> LayerProfile:
    """Each kernel's median on x[N, C, H, W]. Compiles anew, so that generated CPU kernels show in the profile.

    With `fixed`, for exactly that batch size; in the compiler's `mode`, or its default one.
    The profiler slows down every call, by as much for each event as a profiled call is longer than a plain one; that
    is subtracted. Raises `Unavailable` where the compiled graph does not show what it calls.
    """
    is_gpu = device.type == "cuda"
    options: dict[str, Any] = dict(torch._inductor.list_mode_options(mode or "default"))
    options |= {} if is_gpu else {"cpp.enable_kernel_profile": True}
    compiled = torch.compile(network, dynamic=False if fixed else None, options=options)
    with torch.inference_mode():
        bound = torch.tensor(x, device=device)
        if not fixed:
            # A session has seen a batch of one first, so that what it runs for others is compiled for any size.
            compiled(bound[:1])

        def call() -> None:
            compiled(bound)
            if is_gpu:
                torch.cuda.synchronize(device)

        def traced() -> None:
            with record_function(_CALL):
                call()

        warm_up(traced)
        whole_ms = median(call_repeatedly(call))
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
        with profile(activities=activities, record_shapes=True) as profiler:
            call_repeatedly(traced, most=MOST_TRACED_CALLS)
    calls = calls_in(read_trace(profiler), call=_CALL, holds=lambda name: name.startswith(_GRAPH), on_gpu=is_gpu)
    if not calls or not calls[0].operations:
        raise Unavailable(
            "torch.compile fuses layers into kernels of its own, and here its profile does not show them",
            action="Choose PyTorch, ONNX Runtime or OpenVINO to see a time for each layer",
        )
    slower_us = median(call.took_us for call in calls) - 1000 * whole_ms
    same = list(zip(*(call.operations for call in calls), strict=True))
    cost_us = 0.0 if is_gpu else _cost_us(slower_us / median(call.events for call in calls), same)
    in_tf32 = is_gpu and uses_tf32("convolution")
    layers = tuple(_layer(place, operations, cost_us, in_tf32=in_tf32) for place, operations in enumerate(same))
    return LayerProfile(batch_size=len(x), calls=len(calls), call_ms=whole_ms, layers=layers)


def _cost_us(told_us: float, kernels: Sequence[Sequence[Operation]]) -> float:
    """What the profiler takes for each event: as told by the calls, and no more than the shortest one lasts.

    Plain and profiled calls cannot be made in turn, so a machine that slows down in between tells too much.
    """
    shortest_us = min(median(each.took_us / each.events for each in same) for same in kernels)
    return min(max(0.0, told_us), shortest_us)


def _layer(place: int, same: Sequence[Operation], cost_us: float, *, in_tf32: bool = False) -> Layer:
    """One kernel over all calls, without a module's name: the compiled graph has lost it.

    `in_tf32`: whether float32 is convolved in TF32.
    """
    operation = same[0]
    name = re.sub(r"^(aten::|graph_\d+_)", "", operation.name)
    output = _output(operation)
    precision = next((_PRECISIONS[kind] for kind in operation.types if kind in _PRECISIONS), "unknown")
    precision = "tf32" if in_tf32 and precision == "fp32" and operation.name in _CONVOLUTIONS else precision
    width = BITS.get(precision, 0) // 8
    sizes = [width * prod(shape) if shape else 0 for shape in operation.shapes]
    weight_bytes = sizes[_weight_of(operation)] if _weight_of(operation) else 0
    return Layer(
        name=f"{name} [{place}]",
        op=name,
        kind="compute" if output else "conversion" if operation.name.startswith(_CONVERSIONS) else "other",
        time_ms=round(max(0.0, median(each.took_us - cost_us * each.events for each in same)) / 1000, 5),
        precision=precision,
        macs=_macs(operation, output) if output else 0,
        weight_bytes=weight_bytes,
        input_bytes=sum(sizes) - weight_bytes,
        output_bytes=width * prod(output) if output else 0,
        channels=_channels(operation),
        groups=_groups(operation),
        output_shape=tuple(output) if output else None,
    )


def _output(operation: Operation) -> list[int] | None:
    """Of what multiplies; None for anything else."""
    name, shapes = operation.name, operation.shapes
    if name in _CONVOLUTIONS:
        return _convolved(operation)
    if name in _LINEAR:
        return [*shapes[0][:-1], prod(shapes[_LINEAR[name]]) // shapes[0][-1]]
    if name in _FIRST_FACTOR:
        first = _FIRST_FACTOR[name]
        return [*shapes[first][:-1], shapes[first + 1][-1]]
    return [*shapes[0][:-1], shapes[2][-1]] if name.startswith(_ATTENTION) else None


def _convolved(operation: Operation) -> list[int]:
    """The output's shape, from the input, the weight, and the arguments stride, padding and dilation."""
    place, *settings, _ = _CONVOLUTIONS[operation.name]
    image, weight = operation.shapes[0], operation.shapes[place]
    stride, padding, dilation = (json.loads(operation.values[each]) for each in (*settings, max(settings) + 1))
    sides = [
        (size + 2 * pad - spread * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, spread in zip(image[2:], weight[2:], stride, padding, dilation, strict=True)
    ]
    return [image[0], weight[0], *sides]


def _macs(operation: Operation, output: Sequence[int]) -> int:
    name, shapes = operation.name, operation.shapes
    if name in _CONVOLUTIONS:
        weight = shapes[_weight_of(operation)]
        return convolution_macs(output, weight, output_channels=weight[0])
    if name in _LINEAR:
        return matmul_macs(output, shapes[0][-1])
    if name in _FIRST_FACTOR:
        return matmul_macs(output, shapes[_FIRST_FACTOR[name]][-1])
    return attention_macs(*shapes[:3])


def _weight_of(operation: Operation) -> int:
    """Which argument holds the weights; 0 for none, since the first one never does."""
    if operation.name in _CONVOLUTIONS:
        return _CONVOLUTIONS[operation.name][0]
    return _WITH_WEIGHTS.get(operation.name, 0)


def _channels(operation: Operation) -> tuple[int, int] | None:
    if not (place := _weight_of(operation)):
        return None
    first, second = operation.shapes[place][:2]
    if operation.name in _CONVOLUTIONS:
        return second * _groups(operation), first
    inputs = operation.shapes[0][-1] if operation.name in _LINEAR else first
    return inputs, first * second // inputs


def _groups(operation: Operation) -> int:
    if operation.name not in _CONVOLUTIONS:
        return 1
    return int(operation.values[_CONVOLUTIONS[operation.name][-1]])
