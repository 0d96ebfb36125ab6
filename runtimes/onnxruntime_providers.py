"""What computes inside ONNX Runtime, and with which options. Imports onnx inside functions only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.bundle import OnnxGraph, Precision
from core.devices import Device
from core.errors import CannotCompose

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
BATCHES = {"min": 1, "opt": 16, "max": 256}
"""Smallest, preferred and largest batch that TensorRT builds for; untold it would build anew for a larger one."""
_CACHE = "tensorrt"
_CACHES = ("trt_engine_cache_path", "trt_timing_cache_path")

Provider = tuple[str, dict[str, Any]]

_SHAPE = 'f"input:{n}x{CHANNELS}x{HEIGHT}x{WIDTH}"'
_IN_WORDS = """tensorrt = {{f"trt_profile_{{end}}_shapes": {shape} for end, n in {batches}.items()}}
tensorrt |= {{{options}, "trt_engine_cache_path": str(HERE / "{cache}")}}
"""


def own_providers(device: Device) -> list[Provider]:
    """ONNX Runtime's kernels for the device, and those that take what they leave."""
    cpu: list[Provider] = [(CPU, {})]
    return cpu if device.kind == "cpu" else [(CUDA, {"device_id": device.index}), *cpu]


def tensorrt_providers(path: Path, precision: Precision, device: Device) -> list[Provider]:
    """TensorRT for the ONNX file, which builds when that is opened, and CUDA and the CPU for what it leaves.

    What it built is kept in the folder `tensorrt` beside the file, for the next opening.
    """
    import onnx

    dimensions = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]
    sides = "x".join(str(each.dim_value) for each in dimensions)
    (cache := path.parent / _CACHE).mkdir(exist_ok=True)
    options = {"device_id": device.index, **_options(precision), **dict.fromkeys(_CACHES, str(cache))}
    options |= {f"trt_profile_{end}_shapes": f"input:{count}x{sides}" for end, count in BATCHES.items()}
    return [(TENSORRT, options), *own_providers(device)]


def own_providers_in_words(precision: Precision) -> str:
    """Source that sets `providers`; float32 runs on either device, all else only where it was allowed."""
    if precision == "fp32":
        return f'providers = [name for name in ("{CUDA}", "{CPU}") if name in onnxruntime.get_available_providers()]'
    return f'providers = ["{CUDA}", "{CPU}"]' if precision == "fp16" else f'providers = ["{CPU}"]'


def tensorrt_in_words(precision: Precision) -> str:
    """Source that sets `providers` as `tensorrt_providers` gives them, from `CONTRACT` and `HERE`."""
    wanted = (name for name, value in _options(precision).items() if value and "timing" not in name)
    options = ", ".join(f'"{name}": True' for name in wanted)  # off unless told; a kept engine needs no timings
    given = _IN_WORDS.format(shape=_SHAPE, options=options, cache=_CACHE, batches=BATCHES)
    return f'{given}providers = [("{TENSORRT}", tensorrt), "{CUDA}", "{CPU}"]'


def refuse_zero_points(graph: OnnxGraph) -> None:
    """Raises `CannotCompose` for grids that TensorRT leaves to CUDA, which computes them in float.

    It takes signed integers with zero points of 0. Biases in 32 bits ONNX Runtime turns back into floats for it.
    """
    import onnx

    model = onnx.load_from_string(graph.content)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    grids = (node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear"))
    zero_points = (constants[node.input[2]] for node in grids if len(node.input) > 2)
    if any(each.dtype.kind == "u" or each.any() for each in zero_points):
        raise CannotCompose(
            "INT8 grids with zero points for TensorRT inside ONNX Runtime",
            expected="symmetric ones, because it would leave the others to CUDA, which computes them in float",
            action="Make the activations symmetric in the quantization's settings",
        )


def _options(precision: Precision) -> dict[str, bool]:
    """What is switched on: that it keeps what it built, and what follows from the precision.

    https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
    """
    kept = dict.fromkeys(("trt_engine_cache_enable", "trt_timing_cache_enable"), True)
    needed = {"fp16": "trt_fp16_enable", "int8": "trt_int8_enable"}.get(precision)
    return kept | {needed: True} if needed else kept
