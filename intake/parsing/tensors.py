"""The tensors of a file of weights: checked against what the file holds, then written anew as safetensors.

The format is https://huggingface.co/docs/safetensors: 8 bytes with the length of the header, the header in JSON, and
the values of one tensor after the other, in C order and little-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Refused
from core.progress import Progress, Steps
from intake.items import TensorFacts
from intake.limits import LIMITS, MIB
from intake.parsing.snippets import CONTIGUOUS, TO_FLOAT
from intake.parsing.untrusted import Untrusted, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_BYTES = 8 * MIB
LONGEST_NAME, MOST_DIMENSIONS, LARGEST_DIMENSION = 500, 16, 1 << 48
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
    "U16": 2,
    "U32": 4,
    "U64": 8,
    "C64": 8,
    "C128": 16,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
}
"""By type as safetensors calls it."""
_NUMPY = {
    "BOOL": "u1",
    "U8": "u1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
}
"""Of the types that are taken; bfloat16 by its bits."""


@dataclass(frozen=True)
class Tensor:
    """Where the values of one tensor lie in its file."""

    dtype: str
    """One of `ITEM_BYTES`."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements, none negative."""
    start: int
    """Byte in the file at which its first element lies."""

    @property
    def elements(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Of its values, each once."""
        return self.elements * ITEM_BYTES[self.dtype]

    @property
    def is_contiguous(self) -> bool:
        """Whether its values lie in C order, one after the other."""
        return self.elements == 0 or all(
            stride == wanted or side == 1
            for side, stride, wanted in zip(self.shape, self.strides, c_order(self.shape), strict=True)
        )


@dataclass(frozen=True)
class Unfit:
    """What is called a tensor in the file, and cannot be taken."""

    reason: str
    """Goes on after the tensor's name: `is sparse`."""


def c_order(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of an array of that shape in C order."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def tensor_in(dtype: str, shape: object, strides: object, first: object, place: tuple[int, int]) -> Tensor:
    """A tensor that begins `first` elements into a stretch of the file: its first byte and its length in bytes.

    Raises `Refused` where it reaches beyond the stretch, or says more values than that holds, as an expanded one does.
    """
    sides, steps = _whole_numbers(shape), _whole_numbers(strides)
    if sides is None or steps is None or len(sides) != len(steps) or type(first) is not int or first < 0:
        raise Refused("A tensor in it has a shape, strides or an offset that are not whole numbers from 0")
    item, (start, length) = ITEM_BYTES[dtype], place
    tensor = Tensor(dtype, sides, steps, start + first * item)
    last = first + sum((side - 1) * step for side, step in zip(sides, steps, strict=True))
    if tensor.elements and (tensor.size_bytes > length or (last + 1) * item > length):
        raise Refused(
            f"Tensor says more than the file holds: {' x '.join(map(str, sides)) or '1'} values of {item} bytes in "
            f"{length:,} bytes",
            action="If it was expanded from fewer values, save it again in full",
            snippet=CONTIGUOUS,
        )
    return tensor


def _whole_numbers(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, tuple) or len(value) > MOST_DIMENSIONS:
        return None
    return value if all(type(each) is int and 0 <= each <= LARGEST_DIMENSION for each in value) else None


def check_names(names: Sequence[str]) -> None:
    """Raises `Refused` for names that cannot be shown or written as they are, or too many of them."""
    if len(names) > LIMITS.tensors:
        raise Refused(f"The file holds {len(names):,} tensors", expected=f"at most {LIMITS.tensors:,}")
    for name in names:
        if not name or len(name) > LONGEST_NAME or not name.isprintable() or name == "__metadata__":
            raise Refused(
                f"A tensor is named {shown(name) or 'nothing at all'}",
                expected=f"1 to {LONGEST_NAME} letters without control characters",
            )


def write(source: Untrusted, tensors: Mapping[str, Tensor | Unfit], out: Path) -> Steps[dict[str, TensorFacts]]:
    """Write them anew into a safetensors file; what each became. FP64 becomes FP32, the rest keeps its type.

    Never holds more than about 8 MiB of values. Raises `Refused` for types that are no weights of a network in float,
    and for values that are not finite, each with the name of the tensor.
    """
    fit = {name: _fit(name, tensor) for name, tensor in tensors.items()}
    total = sum(tensor.size_bytes for tensor in fit.values())
    if total > max(2 * source.size, 64 * MIB):
        raise Refused(
            f"Its tensors share their memory: they say {total:,} bytes, and the whole file has {source.size:,}",
            expected="at most twice as many",
        )
    order = sorted(fit, key=lambda name: (-ITEM_BYTES[_kept_as(fit[name].dtype)], name))
    facts = {name: TensorFacts(shape=fit[name].shape, dtype=_kept_as(fit[name].dtype)) for name in order}
    done = 0
    with out.open("wb") as file:
        file.write(_header(facts))
        for name in order:
            for chunk in _values(source, fit[name]):
                if not _finite(fit[name].dtype, chunk):
                    raise _not_finite(name, fit[name], source)
                file.write(chunk.data)
                done += chunk.size * ITEM_BYTES[fit[name].dtype]
                if chunk.nbytes > MIB:
                    yield Progress(done=done / MIB, total=total / MIB, unit="MiB", doing="Reading weights")
    return {name: facts[name] for name in tensors}


def _fit(name: str, tensor: Tensor | Unfit) -> Tensor:
    if isinstance(tensor, Unfit):
        raise Refused(f"{shown(name)} {tensor.reason}", expected="weights in FP32, FP16 or BF16")
    if tensor.dtype in ("C64", "C128"):
        raise Refused(f"{shown(name)} has complex numbers", expected="weights in FP32, FP16 or BF16")
    if tensor.dtype in ("I8", "F8_E4M3", "F8_E5M2", "F8_E8M0") or _is_packed(name, tensor):
        raise Refused(
            f"{shown(name)} is in 8 bits ({tensor.dtype}): this network has been quantized already",
            expected="its weights in FP32, FP16 or BF16, as they were before",
            snippet=TO_FLOAT if tensor.dtype.startswith("F8") else "",
        )
    if tensor.dtype not in _NUMPY:
        raise Refused(f"{shown(name)} is of the type {tensor.dtype}", expected="weights in FP32, FP16 or BF16")
    return tensor


def _is_packed(name: str, tensor: Tensor) -> bool:
    """Whether bytes stand where weights should: several quantizers keep theirs like that."""
    return tensor.dtype == "U8" and len(tensor.shape) > 1 and name.rpartition(".")[2] in ("weight", "qweight")


def _kept_as(dtype: str) -> str:
    return "F32" if dtype == "F64" else dtype


def _header(facts: Mapping[str, TensorFacts]) -> bytes:
    entries, at = {}, 0
    for name, tensor in facts.items():
        end = at + prod(tensor.shape) * ITEM_BYTES[tensor.dtype]
        entries[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _values(source: Untrusted, tensor: Tensor) -> Iterator[NDArray[Any]]:
    """All values as they are kept, in C order, in flat pieces of at most `CHUNK_BYTES`."""
    import numpy as np

    dtype = np.dtype(_NUMPY[tensor.dtype])
    for piece in _stored_values(source, tensor, dtype):
        if tensor.dtype == "BOOL":
            yield (piece != 0).view("u1")
        elif tensor.dtype == "F64":
            with np.errstate(over="ignore"):
                yield piece.astype("<f4")
        else:
            yield piece


def _stored_values(source: Untrusted, tensor: Tensor, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    import numpy as np

    if tensor.elements == 0:
        return
    if tensor.is_contiguous:
        for chunk in source.chunks(tensor.start, tensor.size_bytes, CHUNK_BYTES):
            yield np.frombuffer(chunk, dtype)
        return
    reach = 1 + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    flat = np.memmap(source.path, dtype, "r", tensor.start, (reach,))
    strides = tuple(step * dtype.itemsize for step in tensor.strides)
    strided = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
    for piece in np.nditer(strided, ["external_loop", "buffered"], order="C", buffersize=CHUNK_BYTES // dtype.itemsize):
        yield np.array(piece)


def _finite(dtype: str, values: NDArray[Any]) -> bool:
    return sum(_wrong(dtype, values)) == 0


def _wrong(dtype: str, values: NDArray[Any]) -> tuple[int, int]:
    """How many are NaN and how many infinite."""
    import numpy as np

    if dtype == "BF16":
        largest_exponent = (values & 0x7F80) == 0x7F80
        fraction = (values & 0x007F) != 0
        return int((largest_exponent & fraction).sum()), int((largest_exponent & ~fraction).sum())
    if dtype not in ("F16", "F32", "F64") or np.isfinite(values).all():
        return 0, 0
    return int(np.isnan(values).sum()), int(np.isinf(values).sum())


def _not_finite(name: str, tensor: Tensor, source: Untrusted) -> Refused:
    counts = [_wrong(tensor.dtype, values) for values in _values(source, tensor)]
    nan, infinite = sum(each[0] for each in counts), sum(each[1] for each in counts)
    what = " and ".join(f"{count:,} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count)
    too_large = " once they are in FP32" if tensor.dtype == "F64" else ""
    return Refused(
        f"The layer {shown(name)} has values that are not finite{too_large}: {what} of {tensor.elements:,}",
        expected="finite weights",
        action="Take the weights of an earlier epoch: with these, no answer means anything",
    )
