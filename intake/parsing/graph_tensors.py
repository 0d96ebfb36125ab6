"""Whether the tensors of an ONNX file hold what they promise.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.errors import Refused
from intake.parsing.untrusted import shown

NO_NUMBERS: Mapping[int | None, str] = {
    TensorProto.STRING: "text",
    TensorProto.COMPLEX64: "complex numbers",
    TensorProto.COMPLEX128: "complex numbers",
    TensorProto.UNDEFINED: "an undefined type",
    getattr(TensorProto, "FLOAT6E2M3", None): "numbers of six bits",
    getattr(TensorProto, "FLOAT6E3M2", None): "numbers of six bits",
}
"""Types that no image classifier needs, or nothing here computes with."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_LISTS: Mapping[int, str] = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data", TensorProto.UINT64: "uint64_data",
}  # fmt: skip
"""Where numbers stand that are not written as bytes; `int32_data` for all others."""
_NARROW = (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
_BITS: Mapping[int | None, int] = {getattr(TensorProto, name, None): bits for name, bits in _NARROW}
_CHUNK = 2**22


def check_tensor(tensor: TensorProto) -> None:
    """Nothing for a tensor of finite numbers, all of which are there. Raises `Refused` for any other."""
    name = shown(tensor.name) or "A constant"
    if tensor.data_type in NO_NUMBERS or tensor.data_type not in TensorProto.DataType.values():
        raise Refused(
            f"{name} holds {NO_NUMBERS.get(tensor.data_type, f'the unknown type {tensor.data_type}')}",
            expected="real numbers",
        )
    if any(side < 0 for side in tensor.dims) or tensor.HasField("segment"):
        raise Refused(f"{name} has no valid shape", expected="sides of 0 or more")
    promised, held, unit = _counts(tensor)
    if promised != held:
        raise Refused(
            f"{name} says something else than the file holds: {prod(tensor.dims):,} numbers need {promised:,} {unit}, "
            f"and {held:,} are there",
            action="Copy or export the file again",
        )
    if tensor.data_type in FLOATS:
        _check_finite(numpy_helper.to_array(tensor).reshape(-1), name)


def _counts(tensor: TensorProto) -> tuple[int, int, str]:
    """How much a tensor needs, how much of it is there, and in what that is counted."""
    count = prod(tensor.dims)
    bits = _BITS.get(tensor.data_type)
    packed = None if bits is None else -(-count * bits // 8)
    if tensor.HasField("raw_data"):
        size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        return count * size if packed is None else packed, len(tensor.raw_data), "bytes"
    numbers = getattr(tensor, _LISTS.get(tensor.data_type, "int32_data"))
    return count if packed is None else packed, len(numbers), "values"


def _check_finite(values: NDArray[np.generic], name: str) -> None:
    """Infinity may stand alone, as a limit, or beside zeros only, as a mask of attention."""
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        part = part if part.dtype == np.float64 else part.astype(np.float32)
        if np.isfinite(part).all():
            continue
        if np.isnan(part).any():
            raise _not_finite(name, "NaN (not a number)")
        if len(values) > 1 and not ((part == 0) | (part == -np.inf)).all():
            raise _not_finite(name, "infinite numbers")


def _not_finite(name: str, what: str) -> Refused:
    return Refused(f"{name} holds {what}", expected="finite weights", action="Bring the weights of an earlier epoch")
