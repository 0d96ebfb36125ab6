"""How big a network and its files are, and how much arithmetic one image takes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.bundle import ModelBundle, OnnxGraph, OpenVinoModel
from profiling.subject import Shipped

_CHUNK_BYTES = 1 << 20


class Size(BaseModel):
    """Files as they ship, and the network in them."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    gzip_bytes: int
    """The same files compressed: what sparse or clustered weights save in a download."""
    parameter_count: int
    nonzero_count: int
    macs: int
    """Multiply-accumulates for one image, counted before quantization; flops are twice that."""

    @property
    def sparsity(self) -> float:
        """Share of parameters that are zero."""
        return 1 - self.nonzero_count / self.parameter_count


def measure_size(bundle: ModelBundle, shipped: Shipped, *, macs: int) -> Size:
    """The size of the files and of the bundle's network; `macs` as counted by `core.macs` while it was a module."""
    paths = [shipped.folder / name for name in shipped.files]
    parameters, nonzero = _count(bundle)
    return Size(
        size_bytes=sum(path.stat().st_size for path in paths),
        gzip_bytes=sum(_gzip_bytes(path.read_bytes()) for path in paths),
        parameter_count=parameters,
        nonzero_count=nonzero,
        macs=macs,
    )


def _gzip_bytes(content: bytes) -> int:
    compressor = zlib.compressobj(wbits=31)
    chunks = (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))
    return sum(len(compressor.compress(chunk)) for chunk in chunks) + len(compressor.flush())


def _count(bundle: ModelBundle) -> tuple[int, int]:
    """Parameters, and those that are not zero."""
    network = bundle.network
    if isinstance(network, OnnxGraph | OpenVinoModel):
        arrays = list(_weights(network) if isinstance(network, OnnxGraph) else _openvino_weights(network))
        return sum(array.size for array in arrays), sum(int(np.count_nonzero(array)) for array in arrays)
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters), sum(int(p.count_nonzero()) for p in parameters)


def _weights(graph: OnnxGraph) -> Iterator[np.ndarray[Any, Any]]:
    """The initialisers that are learned: neither scales and zero points of quantization nor int64 shapes."""
    import onnx
    from onnx import numpy_helper

    content = onnx.load_from_string(graph.content).graph
    quantizers = (node for node in content.node if node.op_type in ("QuantizeLinear", "DequantizeLinear"))
    grids = {name for node in quantizers for name in node.input[1:]}
    for initializer in content.initializer:
        if initializer.name not in grids and initializer.data_type != onnx.TensorProto.INT64:
            yield numpy_helper.to_array(initializer)


def _openvino_weights(model: OpenVinoModel) -> Iterator[np.ndarray[Any, Any]]:
    """The constants that are learned, less their zero points: neither grids nor shapes nor single numbers."""
    import openvino

    # The model has to outlive what points into it.
    network = openvino.Core().read_model(model.xml, model.weights)
    for constant in network.get_ordered_ops():
        if constant.get_type_name() == "Constant" and not _is_fixed(constant):
            yield constant.get_data(dtype=np.float32) - _zero_point(constant)


def _is_fixed(constant: Any) -> bool:
    """Whether a constant belongs to the architecture or to a grid: single numbers, shapes, scales and zero points."""
    kind = constant.get_element_type().get_type_name()
    if prod(constant.get_output_shape(0)) == 1 or kind in ("i64", "i32", "boolean"):
        return True
    return all(_is_grid(tensor) for tensor in constant.output(0).get_target_inputs())


def _is_grid(use: Any) -> bool:
    """Whether this use of a value makes it an end of a range, a scale or a zero point."""
    node = use.get_node()
    if node.get_type_name() == "Convert":
        return all(_is_grid(tensor) for tensor in node.output(0).get_target_inputs())
    if use.get_index() == 0:
        return False
    scaled = node.input_value(0).get_node()
    if node.get_type_name() == "Multiply" and scaled.get_type_name() == "Subtract":
        scaled = scaled.input_value(0).get_node()
    unpacks = scaled.get_type_name() == "Convert" and scaled.input_value(0).get_node().get_type_name() == "Constant"
    return node.get_type_name() == "FakeQuantize" or (unpacks and node.get_type_name() in ("Multiply", "Subtract"))


def _zero_point(constant: Any) -> Any:
    """What stands for zero in a constant: its zero point where one is subtracted from it."""
    users = [tensor.get_node() for tensor in constant.output(0).get_target_inputs()]
    users += [each.get_node() for user in users for each in user.output(0).get_target_inputs()]
    subtracted = [node.input_value(1).get_node() for node in users if node.get_type_name() == "Subtract"]
    if not subtracted or "f" in constant.get_element_type().get_type_name():
        return 0
    value = subtracted[0]
    while value.get_type_name() == "Convert":
        value = value.input_value(0).get_node()
    return value.get_data(dtype=np.float32)
