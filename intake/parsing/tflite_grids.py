"""What the numbers of a `.tflite` network are, and the grids that those of few bits lie on, operator by operator.

LiteRT and OpenVINO take scales by the place that an operator expects them at, and some kernels end the process where
a scale is none; so each has to be where its operator looks. How many bits mean what:
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from intake.parsing.tflite_inputs import BINARY, SIZES, WITH_WEIGHTS
from intake.parsing.tflite_parts import NONE, is_constant, listed, operator_name, shape_of, type_of
from intake.parsing.tflite_scan import refused

SMALLEST, LARGEST = 1e-30, 1e30
_RANGE: Mapping[str, tuple[int, int]] = {
    "INT4": (-8, 7), "INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-(2**15), 2**15 - 1),
}  # fmt: skip
"""Types that stand for other numbers, and which they can hold."""
_COMPARE = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
_BETWEEN_TYPES = ("CAST", "QUANTIZE", "DEQUANTIZE", "SHAPE")
_PLAIN = ("CAST", "SHAPE")
"""Operators that take integers as they are, whatever they stand for."""
_ALL = ("ADD_N", "CONCATENATION", "PACK", "RANGE")
_VALUES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(BINARY, (0, 1)), "SELECT": (1, 2), "SELECT_V2": (1, 2), "PADV2": (0, 2), "SPLIT": (1,),
    "FILL": (1,), "BATCH_MATMUL": (0,),
}  # fmt: skip
"""Which inputs hold numbers of the type that the operator gives back; the first, where it is not listed."""
_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "FLOAT32": ("FLOAT32", "INT8", "INT4"), "INT8": ("INT8", "INT4"), "UINT8": ("UINT8",), "INT16": ("INT8", "INT4"),
}  # fmt: skip
"""By type of a layer's input: of its weights."""
_BIASES: Mapping[str, tuple[str, ...]] = {
    "FLOAT32": ("FLOAT32",), "INT8": ("INT32",), "UINT8": ("INT32",), "INT16": ("INT32", "INT64"),
}  # fmt: skip
_FROM = {"QUANTIZE": ("FLOAT32", *_RANGE), "DEQUANTIZE": ("FLOAT16", *_RANGE)}
_SUMS: Mapping[str, int] = {"ADD": 19, "SUB": 19}
"""Kernels that end the process where their output's step is this many powers of 2 finer than their inputs'."""


def check_grid(model: Any, tensor: Any, title: str) -> None:
    """Scales are finite, and several of them belong to a constant with a place for each. Raises `Refused`."""
    scales, zeros = _grid(tensor)
    if not (np.isfinite(scales).all() and ((scales >= 0) & (scales <= LARGEST)).all()):
        raise refused(f"{title} has a grid that makes no sense")
    least, most = _RANGE.get(type_of(tensor), (0, 0))
    if len(zeros) not in (0, 1, len(scales)) or not ((zeros >= least) & (zeros <= most)).all():
        raise refused(f"{title} has a grid that makes no sense")
    shape, axis = shape_of(tensor), tensor.quantization.quantizedDimension if tensor.quantization else 0
    if len(scales) <= 1 and 0 <= axis < max(len(shape), 1):
        return
    if not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise refused(f"{title} of the shape {shape} has {len(scales):,} grids along its axis {axis}")
    if not is_constant(model, tensor):
        raise refused(f"{title} is no constant and has {len(scales):,} grids")


def check_types(model: Any, operator: Any, title: str) -> None:
    """An operator's numbers are of types that go together, on grids that it can use. Raises `Refused`."""
    name, tensors = operator_name(model, operator), model.subgraphs[0].tensors
    inputs = [None if place == NONE else tensors[place] for place in listed(operator.inputs)]
    outputs = [tensors[place] for place in listed(operator.outputs)]
    if name in WITH_WEIGHTS:
        x = inputs[2 if name == "TRANSPOSE_CONV" else 0]
        _check_layer(name, x, inputs[1], inputs[-1] if len(inputs) > len(SIZES.get(name, ())) + 2 else None, title)
        values = [x]
    else:
        which = range(len(inputs)) if name in _ALL else _VALUES.get(name, (0,))
        values = [inputs[each] for each in which]
    several = inputs[:1] if name == "DEQUANTIZE" and len(_grid(inputs[0])[0]) > 1 else []
    _check_same(name, values, outputs, title)
    numbers = [*values, *([inputs[1]] if name == "BATCH_MATMUL" else []), *outputs]
    for tensor in numbers:
        if type_of(tensor) in _RANGE and all(tensor is not each for each in several) and name not in _PLAIN:
            _require_one(tensor, title)
    _check_steps(name, values, outputs, title)


def _check_same(name: str, values: list[Any], outputs: list[Any], title: str) -> None:
    kinds = {type_of(each) for each in values}
    given = {type_of(each) for each in outputs}
    if name in _FROM:
        wanted = {"FLOAT32"} if name == "DEQUANTIZE" else set(_RANGE) - {"INT4"}
        fits = kinds <= set(_FROM[name]) and given <= wanted
    elif name == "ARG_MAX":
        fits = given <= {"INT32", "INT64"}
    elif name in _BETWEEN_TYPES:
        fits = True
    else:
        fits = len(kinds) == 1 and given == ({"BOOL"} if name in _COMPARE else kinds)
    if not fits:
        raise refused(f"{title} takes {' and '.join(sorted(kinds))}, and gives {' and '.join(sorted(given))}")


def _check_layer(name: str, x: Any, weights: Any, bias: Any, title: str) -> None:
    kind, stored, axis = type_of(x), type_of(weights), WITH_WEIGHTS[name]
    if stored not in _WEIGHTS.get(kind, ()) or (bias is not None and type_of(bias) not in _BIASES[kind]):
        raise refused(f"{title} takes {kind}, and has weights in {stored}")
    scales, _ = _grid(weights)
    places = shape_of(weights)[axis]
    if len(scales) not in (1, places) and stored in _RANGE:
        raise refused(f"{title} has {len(scales):,} grids for {places:,} channels")
    if (
        len(scales) > 1 or (len(scales) == 1 and kind == "FLOAT32")
    ) and weights.quantization.quantizedDimension != axis:
        raise refused(f"{title} has its grids along axis {weights.quantization.quantizedDimension}, not {axis}")
    if bias is not None and len(_grid(bias)[0]) not in (0, 1, places):
        raise refused(f"{title} has another number of grids for its bias than for its weights")


def _require_one(tensor: Any, title: str) -> None:
    scales, _ = _grid(tensor)
    if len(scales) != 1 or not SMALLEST <= float(scales[0]) <= LARGEST:
        raise refused(f"{title} has {type_of(tensor)} without the one grid that it needs")


def _check_steps(name: str, values: list[Any], outputs: list[Any], title: str) -> None:
    """Steps that a kernel can count in whole numbers; others end the process."""
    if type_of(values[0]) not in _RANGE:
        return
    taken = max(float(_grid(each)[0][0]) for each in values) if name in (*_SUMS, *_COMPARE, "SQUARED_DIFFERENCE") else 0
    given = float(_grid(outputs[0])[0][0]) if taken and name not in _COMPARE else 1.0
    bits = 14 if type_of(values[0]) == "INT16" else _SUMS.get(name, 0)
    too_fine = name in _SUMS and taken >= given * 2.0**bits
    if too_fine or (name in _COMPARE and taken >= 1) or (name == "SQUARED_DIFFERENCE" and taken**2 >= given * 2.0**12):
        raise refused(f"{title} has grids that are too far apart")


def _grid(tensor: Any) -> tuple[Any, Any]:
    """Its scales and zero points."""
    grid = tensor.quantization
    if grid is None or grid.scale is None:
        return np.zeros(0, np.float32), np.zeros(0, np.int64)
    return np.atleast_1d(grid.scale), np.atleast_1d(grid.zeroPoint if grid.zeroPoint is not None else [])
