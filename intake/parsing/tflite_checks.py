"""Whether the parts of a `.tflite` file belong together: places, sizes, order and settings. Imports no engine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from intake.limits import GIB
from intake.parsing.tflite_scan import refused
from intake.parsing.untrusted import shown

LARGEST_TENSOR_BYTES, LARGEST_SETTING = GIB, 4096
BITS = {
    "FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "UINT8": 8, "INT64": 64, "BOOL": 8, "INT16": 16, "INT8": 8, "INT4": 4,
}  # fmt: skip
_NONE = -1
_STEPS = ("strideW", "strideH", "dilationWFactor", "dilationHFactor", "filterWidth", "filterHeight", "blockSize")
"""Settings that are divided by, or that something is counted off with."""


def types() -> dict[int, str]:
    """The names of the types of numbers."""
    from ai_edge_litert.schema_py_generated import TensorType

    return {number: name for name, number in vars(TensorType).items() if isinstance(number, int)}


def operator_name(model: Any, operator: Any) -> str:
    """As the format calls it: `CONV_2D`."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    names = {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}
    code = model.operatorCodes[operator.opcodeIndex]
    name: str = names[max(code.deprecatedBuiltinCode, code.builtinCode)]
    return name


def check(model: Any) -> None:
    """Raises `Refused` where a part of the model does not fit the others."""
    graph = model.subgraphs[0]
    for place, tensor in enumerate(graph.tensors):
        _check_tensor(model, tensor, f"Tensor {place} ({shown(_text(tensor.name))})")
    _check_order(model, graph)


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether its numbers lie in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Its sizes; those that are open as they are for one image."""
    return () if tensor.shape is None else tuple(int(size) for size in np.atleast_1d(tensor.shape))


def _check_tensor(model: Any, tensor: Any, name: str) -> None:
    kind = types().get(tensor.type, "")
    if kind not in BITS:
        raise refused(f"{name} holds {kind or 'unknown things'}", "Convert a network that computes with plain numbers")
    if not 0 <= tensor.buffer < len(model.buffers):
        raise refused(f"{name} lies in buffer {tensor.buffer:,} of {len(model.buffers):,}")
    shape, open_shape = shape_of(tensor), tensor.shapeSignature
    if any(size < 0 for size in shape) or (not is_constant(model, tensor) and 0 in shape):
        raise refused(f"{name} has the shape {shape}")
    if open_shape is not None and (len(open_shape) != len(shape) or min(open_shape, default=0) < _NONE):
        raise refused(f"{name} has the shape {shape}, and another where it is open")
    needed = -(-math.prod(shape) * BITS[kind] // 8)
    if needed > LARGEST_TENSOR_BYTES:
        raise refused(f"{name} takes {needed:,} bytes", f"Keep each tensor below {LARGEST_TENSOR_BYTES:,}")
    if is_constant(model, tensor) and (given := len(model.buffers[tensor.buffer].data)) != needed:
        raise refused(f"{name} of the shape {shape} needs {needed:,} bytes, and has {given:,}")
    _check_grid(tensor, shape, name)


def _check_grid(tensor: Any, shape: tuple[int, ...], name: str) -> None:
    grid = tensor.quantization
    if grid is None or grid.scale is None or len(grid.scale) == 0:
        return
    scales, zeros = np.atleast_1d(grid.scale), np.atleast_1d(grid.zeroPoint if grid.zeroPoint is not None else [])
    if not (np.isfinite(scales).all() and (scales >= 0).all()) or len(zeros) not in (0, 1, len(scales)):
        raise refused(f"{name} has a grid that makes no sense")
    axis = grid.quantizedDimension
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise refused(f"{name} of the shape {shape} has {len(scales):,} grids along its axis {axis}")


def _check_order(model: Any, graph: Any) -> None:
    """Every operator takes what is there by then, and writes what nobody wrote."""
    known = {place for place, tensor in enumerate(graph.tensors) if is_constant(model, tensor)}
    for place in graph.inputs:
        _require_place(int(place), graph, "The input")
        if place in known:
            raise refused("The input of the network is a constant")
        known.add(int(place))
    for number, operator in enumerate(graph.operators):
        name = f"Operator {number}, {operator_name(model, operator)},"
        _check_settings(operator, name)
        for place in _listed(operator.inputs):
            if place != _NONE:
                _require_place(place, graph, name)
            if place != _NONE and place not in known:
                raise refused(f"{name} takes tensor {place}, which nothing has made by then")
        for place in _listed(operator.outputs):
            _require_place(place, graph, name)
            if place in known:
                raise refused(f"{name} writes tensor {place}, which is there already")
            known.add(place)
        _check_indices(model, graph, operator, name)
    for place in graph.outputs:
        _require_place(int(place), graph, "The output")
        if place not in known:
            raise refused("Nothing makes the output of the network")


def _check_settings(operator: Any, name: str) -> None:
    settings = operator.builtinOptions
    if settings is None:
        return
    for key in _STEPS:
        if not 1 <= getattr(settings, key, 1) <= LARGEST_SETTING:
            raise refused(f"{name} has a {key} of {getattr(settings, key):,}")


def _check_indices(model: Any, graph: Any, operator: Any, name: str) -> None:
    """What GATHER picks is known from the file, and there."""
    if operator_name(model, operator) != "GATHER":
        return
    source, places = (graph.tensors[place] for place in _listed(operator.inputs)[:2])
    shape, axis = shape_of(source), operator.builtinOptions.axis if operator.builtinOptions else 0
    kind = {"INT32": np.int32, "INT64": np.int64}.get(types()[places.type])
    if not is_constant(model, places) or kind is None or not -len(shape) <= axis < len(shape):
        raise refused(f"{name} picks what only an image decides")
    found = np.frombuffer(bytes(model.buffers[places.buffer].data), kind)
    if len(beyond := found[(found < 0) | (found >= shape[axis])]):
        raise refused(f"{name} picks number {int(beyond[0]):,} of {shape[axis]:,}")


def _require_place(place: int, graph: Any, name: str) -> None:
    if not 0 <= place < len(graph.tensors):
        raise refused(f"{name} names tensor {place:,} of {len(graph.tensors):,}")


def _listed(places: Any) -> list[int]:
    return [] if places is None else [int(place) for place in np.atleast_1d(places)]


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
