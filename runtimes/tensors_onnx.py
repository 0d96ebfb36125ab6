"""The intermediate tensors of an ONNX model, each as the engine that serves the model computes it.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from core.data import Floats, Inputs

_GRIDS = ("QuantizeLinear", "DequantizeLinear")


def onnx_tensors(content: bytes) -> tuple[str, ...]:
    """Names of what the operators of a serialised model make, in order; without what only changes the number format."""
    graph = onnx.load_from_string(content).graph
    outputs = {output.name for output in graph.output}
    nodes = (node for node in graph.node if node.op_type not in _GRIDS or outputs.intersection(node.output))
    return tuple(tensor for node in nodes for tensor in node.output if tensor)


def probe_onnx(content: bytes, open_session: Callable[[bytes], Any], *, x: Inputs, name: str) -> Floats:
    """The tensor for x[N, C, H, W] as float32, from ONNX Runtime.

    `open_session` opens a serialised model as for serving. The tensor is an output of the model beside the logits.
    """
    model, output = with_output(content, name)
    (tensor,) = open_session(model).run([output], {"input": x})
    return np.asarray(tensor, np.float32)


def with_output(content: bytes, name: str) -> tuple[bytes, str]:
    """The model with one output more, which shows the tensor `name`, and the name of that output.

    Of a tensor that is rounded to integers, it shows the rounded values, as later operators read them: with the other
    ones as an output, the engine could not compute them with its kernels for integers. An activation that quantizing
    replaced by the end of a range is in the rounded values only.
    """
    model = onnx.load_from_string(content)
    output = _handed_on(model.graph, name)
    if output not in {each.name for each in model.graph.output}:
        model.graph.output.append(_typed(model, output))
    return model.SerializeToString(), output


def _typed(model: onnx.ModelProto, tensor: str) -> onnx.ValueInfoProto:
    """The tensor with the type of its numbers, which TensorRT wants to be told; without it behind foreign operators."""
    known = {each.name: each for each in onnx.shape_inference.infer_shapes(model).graph.value_info}
    if tensor not in known:
        return onnx.helper.make_empty_tensor_value_info(tensor)
    return onnx.helper.make_tensor_value_info(tensor, known[tensor].type.tensor_type.elem_type, None)


def _handed_on(graph: onnx.GraphProto, name: str) -> str:
    integers = _read_by(graph, name, "QuantizeLinear")
    floats = _read_by(graph, integers, "DequantizeLinear") if integers else None
    return floats or name


def _read_by(graph: onnx.GraphProto, tensor: str, op_type: str) -> str | None:
    """What an operator of that type makes of the tensor."""
    readers = (node for node in graph.node if node.op_type == op_type and node.input[0] == tensor)
    return next((str(node.output[0]) for node in readers), None)
