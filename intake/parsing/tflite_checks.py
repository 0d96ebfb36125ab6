"""Whether the parts of a `.tflite` file belong together: places, sizes, order and settings. Imports no engine."""

from __future__ import annotations

import math
from typing import Any

from intake.limits import GIB
from intake.parsing.tflite_grids import check_grid, check_types
from intake.parsing.tflite_inputs import check_count, check_places, counted
from intake.parsing.tflite_parts import (
    LARGEST_SETTING,
    NONE,
    is_constant,
    listed,
    operator_name,
    shape_of,
    type_of,
)
from intake.parsing.tflite_scan import refused
from intake.parsing.untrusted import shown

LARGEST_TENSOR_BYTES = GIB
BITS = {
    "FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "UINT8": 8, "INT64": 64, "BOOL": 8, "INT16": 16, "INT8": 8, "INT4": 4,
}  # fmt: skip
_STEPS = ("strideW", "strideH", "dilationWFactor", "dilationHFactor", "filterWidth", "filterHeight", "blockSize")
"""Settings that are divided by, or that something is counted off with."""
_RANGES = {"radius": (0, LARGEST_SETTING), "numBits": (2, 16), "padding": (0, 1), "fusedActivationFunction": (0, 5)}
"""Of other settings: the least and the most."""


def check(model: Any) -> None:
    """Raises `Refused` where a part of the model does not fit the others."""
    graph = model.subgraphs[0]
    for place, tensor in enumerate(graph.tensors):
        _check_tensor(model, tensor, f"Tensor {place} ({shown(_text(tensor.name))})")
    _check_order(model, graph)


def _check_tensor(model: Any, tensor: Any, name: str) -> None:
    kind = type_of(tensor)
    if kind not in BITS:
        raise refused(f"{name} holds {kind or 'unknown things'}", "Convert a network that computes with plain numbers")
    if not 0 <= tensor.buffer < len(model.buffers):
        raise refused(f"{name} lies in buffer {tensor.buffer:,} of {len(model.buffers):,}")
    shape, open_shape = shape_of(tensor), tensor.shapeSignature
    if any(size < 0 for size in shape) or (not is_constant(model, tensor) and 0 in shape):
        raise refused(f"{name} has the shape {shape}")
    if open_shape is not None and (len(open_shape) != len(shape) or min(open_shape, default=0) < NONE):
        raise refused(f"{name} has the shape {shape}, and another where it is open")
    needed = -(-math.prod(shape) * BITS[kind] // 8)
    if needed > LARGEST_TENSOR_BYTES:
        raise refused(f"{name} takes {needed:,} bytes", f"Keep each tensor below {LARGEST_TENSOR_BYTES:,}")
    if is_constant(model, tensor) and (given := len(model.buffers[tensor.buffer].data)) != needed:
        raise refused(f"{name} of the shape {shape} needs {needed:,} bytes, and has {given:,}")
    check_grid(model, tensor, name)


def _check_order(model: Any, graph: Any) -> None:
    """Every operator takes what is there by then, and writes what nobody wrote."""
    known = {place for place, tensor in enumerate(graph.tensors) if is_constant(model, tensor)}
    sizes = set(known)
    for place in graph.inputs:
        _require_place(int(place), graph, "The input")
        if place in known:
            raise refused("The input of the network is a constant")
        known.add(int(place))
    for number, operator in enumerate(graph.operators):
        name = f"Operator {number}, {operator_name(model, operator)},"
        check_count(model, operator, name)
        _check_settings(operator, name)
        for place in listed(operator.inputs):
            if place != NONE:
                _require_place(place, graph, name)
            if place != NONE and place not in known:
                raise refused(f"{name} takes tensor {place}, which nothing has made by then")
        for place in listed(operator.outputs):
            _require_place(place, graph, name)
            if place in known:
                raise refused(f"{name} writes tensor {place}, which is there already")
            known.add(place)
        check_places(model, operator, name, sizes)
        check_types(model, operator, name)
        if counted(model, operator, sizes):
            sizes.update(listed(operator.outputs))
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
    for key, (least, most) in _RANGES.items():
        if not least <= getattr(settings, key, least) <= most:
            raise refused(f"{name} has a {key} of {getattr(settings, key):,}")


def _require_place(place: int, graph: Any, name: str) -> None:
    if not 0 <= place < len(graph.tensors):
        raise refused(f"{name} names tensor {place:,} of {len(graph.tensors):,}")


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
