"""Weights in a safetensors file, whose header is checked before anything of it is believed.

Follows https://huggingface.co/docs/safetensors and the checks of its own reader (`safetensors/src/tensor.rs`).
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any, NoReturn

from core.errors import Refused
from intake.limits import LIMITS, MIB
from intake.parsing.tensors import ITEM_BYTES, LARGEST_DIMENSION, MOST_DIMENSIONS, Tensor, Unfit, c_order
from intake.parsing.untrusted import Untrusted, cut_short, shown

MOST_HEADER_BYTES = 16 * MIB
"""The format allows 100 MB; 20,000 tensors with long names take a fifth of this."""
FORMAT_HEADER_BYTES = 100_000_000
LONGEST_TEXT, MOST_TEXTS = 500, 50
_METADATA = "__metadata__"


def read(source: Untrusted) -> tuple[dict[str, Tensor | Unfit], dict[str, str]]:
    """Where each tensor lies, in the order of the header, and the free text that the file carries.

    Raises `Refused` with what is wrong with the header.
    """
    header, start = _header(source)
    texts = _texts(header.pop(_METADATA, {}))
    if len(header) > LIMITS.tensors:
        raise _wrong(f"lists {len(header):,} tensors", f"at most {LIMITS.tensors:,}")
    places = {name: _place(name, entry) for name, entry in header.items()}
    _check_gapless(places, source.size - start, source.size)
    return {name: _tensor(name, entry, start) for name, entry in header.items()}, texts


def _header(source: Untrusted) -> tuple[dict[str, Any], int]:
    if source.size < 8:
        raise cut_short(source.size, "the length of the header in the first 8")
    (length,) = struct.unpack("<Q", source.read(0, 8))
    if length > MOST_HEADER_BYTES:
        raise _wrong(f"says it has {length:,} bytes", f"at most {MOST_HEADER_BYTES:,}")
    if 8 + length > source.size:
        raise cut_short(source.size, f"{8 + length:,} for the header alone")
    try:
        text = source.read(8, length).decode()
        header = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise _wrong("is not text in UTF-8") from None
    except RecursionError:
        raise _wrong("is nested too deep") from None
    except ValueError as error:
        raise _wrong(f"is not JSON ({shown(str(error))})") from None
    if not text.startswith("{") or not isinstance(header, dict):
        raise _wrong("is not a JSON object")
    return header, 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _wrong(f"has two entries named {shown(twice)}")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _texts(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _wrong("has metadata that is not text")
    short = {key: value for key, value in metadata.items() if key.isprintable() and value.isprintable()}
    return {key[:LONGEST_TEXT]: value[:LONGEST_TEXT] for key, value in list(short.items())[:MOST_TEXTS]}


def _place(name: str, entry: object) -> tuple[int, int]:
    """First byte and end of its values, counted from the end of the header."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _wrong(f"describes {shown(name)} by other things than its type, shape and place")
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_whole(each) for each in offsets):
        raise _wrong(f"gives no place for {shown(name)}", "two whole numbers from 0")
    begin, end = offsets
    if begin > end:
        raise _wrong(f"says that {shown(name)} ends before it begins")
    return begin, end


def _tensor(name: str, entry: Mapping[str, Any], start: int) -> Tensor | Unfit:
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(_is_whole(side) for side in shape):
        raise _wrong(f"gives no shape for {shown(name)}", f"up to {MOST_DIMENSIONS} whole numbers from 0")
    if not isinstance(dtype, str):
        raise _wrong(f"gives no type for {shown(name)}")
    if dtype not in ITEM_BYTES:
        return Unfit(f"is of the type {shown(dtype)}, which the studio does not know")
    if prod(shape) * ITEM_BYTES[dtype] != end - begin:
        raise _wrong(
            f"says that {shown(name)} has {prod(shape):,} values of {ITEM_BYTES[dtype]} bytes in {end - begin:,}"
        )
    return Tensor(dtype, tuple(shape), c_order(shape), start + begin)


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_DIMENSION


def _check_gapless(places: Mapping[str, tuple[int, int]], length: int, size: int) -> None:
    """Raises `Refused` unless the values of all tensors fill the file, one after the other."""
    free = 0
    for name, (begin, end) in sorted(places.items(), key=lambda each: each[1]):
        if end > length:
            raise cut_short(size, f"{size - length + end:,} for {shown(name)}")
        if begin != free:
            raise _wrong(
                f"leaves a gap before {shown(name)}" if begin > free else f"lets {shown(name)} overlap another"
            )
        free = end
    if free != length:
        raise _wrong(f"says nothing of the last {length - free:,} bytes")


def _wrong(what: str, expected: str = "") -> Refused:
    return Refused(f"The header {what}", expected=expected, action="Write the file again with safetensors")
