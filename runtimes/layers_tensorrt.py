"""TensorRT's own profile, read layer by layer: its IProfiler for times, its engine inspector for what the layers are.

An engine tells what its layers multiply only if it was built with detailed profiling verbosity, and not at all for the
parts that its graph compiler fused into one (`ForeignNode`). Imports torch: import it inside functions only.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from statistics import median
from typing import Any

import torch

from core.data import Inputs
from core.devices import Device
from core.layers import FUSED, Layer, LayerKind, LayerProfile, sum_ms
from runtimes.layers_shared import call_repeatedly, convolution_macs, matmul_macs, warm_up

_CONVERSIONS = frozenset({"Reformat", "Reorder", "Cast", "Quantize", "Dequantize"})
_PRECISIONS = {
    "bf16": ("bf16", "bfloat16"),
    "fp16": ("fp16", "half"),
    "fp8": ("fp8",),
    "int8": ("int8",),
    "fp32": ("fp32", "float"),
}
"""Words of the inspector for a tensor's type, the more special ones first."""
_BYTES = {"bf16": 2, "fp16": 2, "fp8": 1, "int8": 1, "fp32": 4}


def profile_engine(trt: Any, engine: Any, gpu: Device, x: Inputs) -> tuple[LayerProfile, str]:
    """Each layer's median on x[N, C, H, W], and the inspector's own JSON.

    The whole call is timed without the profiler, which serialises layers.
    """
    device = torch.device(gpu.id)
    with torch.cuda.device(device):
        return _profile(trt, engine, device, x)


def _profile(trt: Any, engine: Any, device: torch.device, x: Inputs) -> tuple[LayerProfile, str]:
    context, stream = engine.create_execution_context(), torch.cuda.current_stream(device)
    bound = torch.tensor(x, device=device)
    context.set_input_shape("input", tuple(bound.shape))
    logits = torch.empty(tuple(context.get_tensor_shape("logits")), device=device)
    context.set_tensor_address("input", bound.data_ptr())
    context.set_tensor_address("logits", logits.data_ptr())

    def infer() -> None:
        context.execute_async_v3(stream.cuda_stream)
        torch.cuda.synchronize(device)

    warm_up(infer)
    whole_ms = median(call_repeatedly(infer))
    context.profiler = stopwatch = _stopwatch(trt)
    calls = call_repeatedly(infer)
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    inspected: str = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    facts = json.loads(inspected)
    layers = tuple(read_layers(facts["Layers"], {name: median(times) for name, times in stopwatch.times.items()}))
    beyond_ms = whole_ms - sum_ms(layers)
    profile = LayerProfile(batch_size=len(x), calls=len(calls), call_ms=sum_ms(layers) + beyond_ms, layers=layers)
    return profile, inspected


def _stopwatch(trt: Any) -> Any:
    class Stopwatch(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name].append(ms)

    return Stopwatch()


def read_layers(described: Sequence[Any], times_ms: Mapping[str, float]) -> list[Layer]:
    """The timed layers in the inspector's words; a layer that it only names, or leaves out, has no MACs."""
    known = {layer["Name"]: layer for layer in described if isinstance(layer, dict)}
    return [_layer(name, known.get(name, {}), round(time_ms, 5)) for name, time_ms in times_ms.items()]


def _layer(name: str, facts: Mapping[str, Any], time_ms: float) -> Layer:
    inputs, outputs = facts.get("Inputs", []), facts.get("Outputs", [])
    weights = facts.get("Weights", {})
    output_channels = facts.get("OutMaps")
    groups = facts.get("Groups", 1)
    return Layer(
        name=_name(name, facts),
        op=facts.get("LayerType", "layer"),
        kind=_kind(name, facts),
        time_ms=time_ms,
        precision=_precision(inputs[0]) if inputs else "unknown",
        macs=_macs(facts),
        weight_bytes=weights.get("Count", 0) * _BYTES.get(_of_type(weights.get("Type", "")), 0),
        input_bytes=sum(_bytes(tensor) for tensor in inputs),
        output_bytes=sum(_bytes(tensor) for tensor in outputs),
        channels=(inputs[0]["Dimensions"][1], output_channels) if inputs and output_channels else None,
        groups=groups,
        output_shape=tuple(outputs[0]["Dimensions"]) if outputs and "Dimensions" in outputs[0] else None,
    )


def _name(name: str, facts: Mapping[str, Any]) -> str:
    """The ONNX nodes that the layer stands for, where the engine kept them."""
    nodes = re.findall(r"\[ONNX Layer: ([^\]]+)\]", facts.get("Metadata", ""))
    return FUSED.join(nodes) or name


def _kind(name: str, facts: Mapping[str, Any]) -> LayerKind:
    is_product = facts.get("ParameterType") in ("Convolution", "Deconvolution", "MatrixMultiply")
    if is_product or "ForeignNode" in name:
        return "compute"
    is_conversion = facts.get("LayerType") in _CONVERSIONS or name.startswith("Reformatting")
    return "conversion" if is_conversion else "other"


def _macs(facts: Mapping[str, Any]) -> int:
    kind, inputs, outputs = facts.get("ParameterType"), facts.get("Inputs", []), facts.get("Outputs", [])
    if kind == "Convolution" and "OutMaps" in facts:
        count = facts.get("Weights", {}).get("Count", 0)
        return convolution_macs(outputs[0]["Dimensions"], [count], output_channels=facts["OutMaps"])
    if kind == "MatrixMultiply" and inputs:
        return matmul_macs(outputs[0]["Dimensions"], inputs[0]["Dimensions"][-1])
    return 0


def _precision(tensor: Mapping[str, Any]) -> str:
    return _of_type(" ".join(str(tensor.get(key, "")) for key in ("Format/Datatype", "Datatype", "Format")))


def _of_type(text: str) -> str:
    """`fp16` for `Channel major FP16 format where channel % 8 == 0`, and for `Half`."""
    words = text.lower()
    return next((name for name, marks in _PRECISIONS.items() if any(mark in words for mark in marks)), "unknown")


def _bytes(tensor: Mapping[str, Any]) -> int:
    return int(prod(tensor.get("Dimensions", []))) * _BYTES.get(_precision(tensor), 0)
