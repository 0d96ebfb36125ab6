"""Long series of numbers as short text: what keeps raw samples and predictions affordable in a database."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import core_schema

from core.errors import BadInput

Numbers = NDArray[np.float64]
DTYPES = ("<u2", "<u4", "<i4")
LONGEST_BYTES = 200 * 2**20
"""Of an unpacked series: beyond it a text was not written by us."""


@dataclass(frozen=True)
class Packed:
    """Numbers kept as multiples of 1 / `per_unit`, in the integers of `dtype`."""

    dtype: str
    """numpy's name of a little-endian integer type: `<u2`."""
    per_unit: int
    content: bytes

    @classmethod
    def of(cls, values: Iterable[float], dtype: str, per_unit: int = 1) -> Packed:
        """The values, rounded to multiples of 1 / `per_unit`. Raises `BadInput` for one that does not fit `dtype`."""
        scaled = np.rint(np.asarray(list(values), np.float64) * per_unit)
        limits = np.iinfo(dtype)
        if not np.all((scaled >= limits.min) & (scaled <= limits.max)):
            raise BadInput(
                "a number too large or not finite in a series",
                expected=f"{limits.min / per_unit:g} to {limits.max / per_unit:g}",
            )
        return cls(dtype, per_unit, scaled.astype(dtype).tobytes())

    @cached_property
    def array(self) -> Numbers:
        """float64 [N], read-only."""
        values: Numbers = np.frombuffer(self.content, self.dtype) / self.per_unit
        values.setflags(write=False)
        return values

    @cached_property
    def integers(self) -> NDArray[np.int64]:
        """int64 [N], read-only: the numbers of a series of whole ones."""
        values = np.frombuffer(self.content, self.dtype).astype(np.int64) // self.per_unit
        values.setflags(write=False)
        return values

    def __len__(self) -> int:
        return len(self.content) // np.dtype(self.dtype).itemsize

    @property
    def text(self) -> str:
        """`<u2/10000:` and the zlib-compressed integers in base64."""
        return f"{self.dtype}/{self.per_unit}:" + base64.b64encode(zlib.compress(self.content, 6)).decode()

    @classmethod
    def parse(cls, text: str) -> Packed:
        """The series whose `text` it is. Raises `ValueError` for anything else."""
        head, _, body = text.partition(":")
        dtype, _, per_unit = head.partition("/")
        if dtype not in DTYPES or not per_unit.isdecimal() or int(per_unit) < 1:
            raise ValueError("not a packed series")
        try:
            content = zlib.decompressobj().decompress(base64.b64decode(body), LONGEST_BYTES)
        except zlib.error as error:
            raise ValueError(f"not a packed series: {error}") from None
        if len(content) % np.dtype(dtype).itemsize:
            raise ValueError("not a packed series: cut short")
        return cls(dtype, int(per_unit), content)


@dataclass(frozen=True)
class PackedField:
    """Annotation of a pydantic field of type `Packed`: it reads a packed text or plain numbers, and writes the text.

    Serialised with the context `{"plain": True}` it is a plain list, for readers who have only a JSON parser.
    """

    dtype: str
    per_unit: int = 1

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read, serialization=core_schema.plain_serializer_function_ser_schema(self._write, info_arg=True)
        )

    def _read(self, value: Any) -> Packed:
        if isinstance(value, Packed):
            return value
        return Packed.parse(value) if isinstance(value, str) else Packed.of(value, self.dtype, self.per_unit)

    def _write(self, value: Packed, info: core_schema.SerializationInfo) -> Any:
        is_plain = bool(info.context and info.context.get("plain"))
        return (value.integers if self.per_unit == 1 else value.array).tolist() if is_plain else value.text
