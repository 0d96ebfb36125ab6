"""An ONNX graph that a person brought, in 16-bit floats. Imports onnx and onnxruntime inside functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.bundle import ModelBundle, OnnxGraph, Precision
from core.data import Inputs
from core.errors import BadInput, RunFailed
from core.onnx_macs import constants_of
from core.onnx_reference import tensors_of
from core.progress import Note, Progress, Steps
from optimizers.technique import Context

if TYPE_CHECKING:
    import onnx

_LARGEST, _SMALLEST = 65504.0, 2.0**-24
"""What a half can hold; anything smaller is 0."""
_ROOM = 0.5
"""Share of the range that calibration images may fill: others may reach further."""
_IMAGES, _AT_ONCE = 32, 4
_SHOWN = 8


def reduced_graph(bundle: ModelBundle, context: Context, precision: Precision) -> Steps[ModelBundle]:
    """The bundle to be computed in 16 bits.

    bf16 is for OpenVINO alone, which rounds a graph in float32 when it opens it, and has float32's range. For fp16 the
    graph itself is converted to halves between float32 ends, but for the operators whose values would leave their
    range on calibration images; raises `RunFailed` for OpenVINO where there are such, because it would lower them too.
    """
    assert isinstance(bundle.network, OnnxGraph), "check() lets nothing else here"
    if precision == "bf16":
        return replace(bundle, precision=precision)
    pixels = bundle.data.calibrate.take(_IMAGES).pixels
    if not len(pixels):
        raise BadInput("There are no calibration images", expected="at least one", action="Add images to the model")
    yield Progress(done=0, total=len(pixels), unit="images", doing="looking for values that would overflow")
    content = _with_names(bundle.network.content)
    kept = yield from _overflowing(content, bundle.contract.prepare(pixels), context.threads)
    names = ", ".join(kept[:_SHOWN]) + (", ..." if len(kept) > _SHOWN else "")
    if context.runtime == "openvino":
        if kept:
            raise RunFailed(
                f"Values of {names} would overflow fp16",
                expected="a network that fits, because OpenVINO lowers all of it",
                action="Choose another precision",
            )
        return replace(bundle, precision=precision)
    if kept:
        yield Note(text=f"{len(kept)} operators stay in float32, whose values would overflow FP16: {names}.")
    return replace(bundle, network=OnnxGraph(in_halves(content, kept)), precision=precision)


def in_halves(content: bytes, kept: list[str]) -> bytes:
    """The graph in float16 between float32 ends, but for the nodes of these names.

    By ONNX Runtime's own converter, which also leaves operators in float32 that have no kernels in halves. Source:
    https://onnxruntime.ai/docs/performance/model-optimizations/float16.html
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(
        onnx.load_from_string(content),
        min_positive_val=_SMALLEST,
        max_finite_val=_LARGEST,
        keep_io_types=True,
        node_block_list=kept,
    )
    _keep_between(converted.graph)
    result: bytes = converted.SerializeToString()
    return result


def _keep_between(graph: onnx.GraphProto) -> None:
    """Where one node in float32 hands on to another, the converter rounds in between: take both casts out."""
    from onnx import TensorProto, helper

    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    kinds = {name: helper.get_node_attr_value(node, "to") for name, node in casts.items()}
    exact = {
        name: casts[node.input[0]].input[0]
        for name, node in casts.items()
        if (kinds[name], kinds.get(node.input[0])) == (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    for node in graph.node:
        node.input[:] = [exact.get(name, name) for name in node.input]
    read = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    unread = [node for name, node in casts.items() if name not in read]
    for node in unread:
        graph.node.remove(node)


def _with_names(content: bytes) -> bytes:
    """The graph with a name of its own for every node."""
    import onnx

    model, taken = onnx.load_from_string(content), set[str]()
    for place, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{place}"
        taken.add(node.name)
    result: bytes = model.SerializeToString()
    return result


def _overflowing(content: bytes, x: Inputs, threads: int) -> Steps[list[str]]:
    """Names of the nodes that read or make a value too large for a half, on x[N, C, H, W] or as a constant."""
    import onnx

    graph = onnx.load_from_string(content).graph
    large = {name for name, values in _float_constants(graph) if np.abs(values).max(initial=0) > _LARGEST}
    made = [name for name, kind in _kinds(content).items() if kind == onnx.TensorProto.FLOAT]
    for start in range(0, len(x), _AT_ONCE):
        found = tensors_of(content, made, x[start : start + _AT_ONCE], threads=threads)
        large |= {name for name, values in found.items() if not np.abs(values).max(initial=0) <= _ROOM * _LARGEST}
        done = min(start + _AT_ONCE, len(x))
        yield Progress(done=done, total=len(x), unit="images", doing="looking for values that would overflow")
    return [node.name for node in graph.node if large.intersection((*node.input, *node.output))]


def _float_constants(graph: onnx.GraphProto) -> Iterator[tuple[str, Any]]:
    from onnx import TensorProto, numpy_helper

    for name, tensor in constants_of(graph).items():
        if tensor.data_type == TensorProto.FLOAT:
            yield name, numpy_helper.to_array(tensor)


def _kinds(content: bytes) -> dict[str, int]:
    """The type of what each node makes, as far as onnx's inference knows."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    made = {name for node in model.graph.node for name in node.output}
    known = (*model.graph.value_info, *model.graph.output)
    return {each.name: each.type.tensor_type.elem_type for each in known if each.name in made}
