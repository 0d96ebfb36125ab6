"""The intermediate tensors of an ONNX model, each as TensorRT computes it.

An engine shows nothing but its outputs, so each tensor takes an engine of its own, built from the graph that the
artifact's engine was built from. Imports torch: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from core.data import Floats, Inputs
from core.errors import RunFailed, Unavailable
from runtimes.tensors_onnx import with_output


def probe_tensorrt(
    trt: Any, onnx: bytes, build: Callable[[bytes], bytes], device: torch.device, *, x: Inputs, name: str
) -> Floats:
    """The tensor for x[N, C, H, W] as float32, on an NVIDIA GPU.

    `trt` is the module that `build` makes a serialised engine with, from a serialised graph, as for serving. The tensor
    is an output of the engine beside the logits. Raises `Unavailable` where the engine does not open.
    """
    graph, output = with_output(onnx, name)
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(build(graph))
    if engine is None:
        raise Unavailable("An engine that shows an intermediate tensor does not open on this GPU")
    tensors = _run(trt, engine, torch.tensor(x, device=device))
    tensor: Floats = tensors[output].float().cpu().numpy()
    return tensor


def _run(trt: Any, engine: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every output, by name."""
    context = engine.create_execution_context()
    context.set_input_shape("input", tuple(x.shape))
    context.set_tensor_address("input", x.data_ptr())
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    outputs = {}
    for name in names:
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
            dtype = getattr(torch, _DTYPES[engine.get_tensor_dtype(name).name])
            outputs[name] = torch.empty(tuple(context.get_tensor_shape(name)), device=x.device, dtype=dtype)
            context.set_tensor_address(name, outputs[name].data_ptr())
    stream = torch.cuda.current_stream(x.device)
    if not context.execute_async_v3(stream.cuda_stream):
        raise RunFailed("TensorRT refused to run the engine", action="Choose another runtime")
    stream.synchronize()
    return outputs


_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT32": "int32", "INT64": "int64"}
"""TensorRT's names of what an output can be."""
