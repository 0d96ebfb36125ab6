"""The parts of a `.tflite` model: what its tensors and operators are called, their shapes and their constants."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
LARGEST_SETTING = 4096
NONE = -1
_WHOLE = {"INT32": np.int32, "INT64": np.int64}


@cache
def types() -> dict[int, str]:
    """The names of the types of numbers."""
    from ai_edge_litert.schema_py_generated import TensorType

    return {number: name for name, number in vars(TensorType).items() if isinstance(number, int)}


@cache
def _operators() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}


def operator_name(model: Any, operator: Any) -> str:
    """As the format calls it: `CONV_2D`."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _operators()[max(code.deprecatedBuiltinCode, code.builtinCode)]


def type_of(tensor: Any) -> str:
    """As the format calls it: `FLOAT32`."""
    return types().get(tensor.type, "")


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether its numbers lie in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Its sizes; those that are open as they are for one image."""
    return () if tensor.shape is None else tuple(int(size) for size in np.atleast_1d(tensor.shape))


def listed(places: Any) -> list[int]:
    """Numbers of tensors, or of axes."""
    return [] if places is None else [int(place) for place in np.atleast_1d(places)]


def whole_numbers(model: Any, tensor: Any) -> Whole | None:
    """A constant of whole numbers, int64 in its shape; None for anything else."""
    kind = _WHOLE.get(type_of(tensor))
    if kind is None or not is_constant(model, tensor):
        return None
    found = np.frombuffer(bytes(model.buffers[tensor.buffer].data), kind)
    return found.astype(np.int64).reshape(shape_of(tensor))
