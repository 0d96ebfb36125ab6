"""The layers of an ONNX graph that a person brought, by names of their own. Imports onnx inside functions."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.onnx_export import LAYERS
from core.onnx_macs import constants_of

if TYPE_CHECKING:
    import onnx

_MARK = "#layer"
"""Behind a node's name while it is simplified: what is fused with others is called after the node, with more behind."""


@dataclass(frozen=True, eq=False)
class GraphLayer:
    """A convolution or linear layer."""

    kind: str
    """`Conv2d`, `depthwise Conv2d`, `Linear`."""
    weight: NDArray[Any]
    """[outputs, inputs] or [outputs, inputs of a group, ...], however the graph keeps it."""
    parameters: int
    """Of the weights and, where the same node adds it, the bias."""
    input: str
    """The tensor that comes in."""
    output: str
    """The one that goes out."""


def prepared_graph(content: bytes) -> bytes:
    """The same graph with what is constant computed, BatchNorm merged into convolutions, and its layers named.

    A layer goes by its weights where these are called `features.0.weight`, else by the exporter's notes or its node:
    `/features/features.0/Conv` is `features.0`. A product of two activations has that name and a number,
    `blocks.0.attn/0`.
    """
    import onnx

    model = onnx.load_from_string(content)
    for place, node in enumerate(node for node in model.graph.node if node.op_type in LAYERS):
        node.name = f"{_name(node)}{_MARK}{place}"
    model = onnx.load_from_string(_simplified(model.SerializeToString()))
    used = {node.domain for node in model.graph.node}
    kept = [each for each in model.opset_import if each.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    constants, taken = constants_of(model.graph), Counter[str]()
    for node in (node for node in model.graph.node if node.op_type in LAYERS):
        name, has_weight = node.name.partition(_MARK)[0], node.input[1] in constants
        node.name = name if has_weight and not taken[name] else f"{name}/{taken[name]}"
        taken[name] += 1
    result: bytes = model.SerializeToString()
    return result


def layers_of_graph(content: bytes) -> dict[str, GraphLayer]:
    """The layers of a prepared graph by name, in the order of execution."""
    import onnx

    graph = onnx.load_from_string(content).graph
    constants = constants_of(graph)
    nodes = (node for node in graph.node if node.op_type in LAYERS and node.input[1] in constants)
    found = ((node.name, _layer(node, constants)) for node in nodes)
    return {name: layer for name, layer in found if layer}


def _simplified(content: bytes) -> bytes:
    """The graph after ONNX Runtime's basic rewriting, which uses no operators but ONNX's own."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder, "simplified.onnx"))
        onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        return Path(folder, "simplified.onnx").read_bytes()


def _name(node: onnx.NodeProto) -> str:
    owner, found, _ = str(node.input[1]).rpartition(".weight")
    if found and owner and "/" not in owner:
        return owner
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = re.findall(r"'([^']*)'", notes.get("pkg.torch.onnx.name_scopes", ""))
    if len(scopes) > 1 and scopes[-2]:
        return str(scopes[-2])
    parts: list[str] = []
    for part in filter(None, node.name.split("/")[:-1]):
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part  # PyTorch's older exporter repeats what a module is inside of
        else:
            parts.append(part)
    return ".".join(parts) or node.name.strip("/") or node.op_type


def _layer(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> GraphLayer | None:
    """None for what is no layer: a product with a matrix for each image, or an input that is turned round first."""
    from onnx import helper, numpy_helper

    weight = numpy_helper.to_array(constants[node.input[1]])
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    parameters = weight.size + int(np.prod(bias.dims) if bias else 0)
    if node.op_type == "Conv":
        is_depthwise = attributes.get("group", 1) > 1 and weight.shape[1] == 1
        kind = "depthwise " * is_depthwise + f"Conv{weight.ndim - 2}d"
        return GraphLayer(kind, weight, parameters, node.input[0], node.output[0])
    if weight.ndim != 2 or attributes.get("transA"):
        return None
    turned = weight if attributes.get("transB") else weight.T
    return GraphLayer("Linear", turned, parameters, node.input[0], node.output[0])
