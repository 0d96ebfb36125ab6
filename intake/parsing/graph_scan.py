"""A first look at the bytes of an ONNX file: how much there is of everything, before any library builds it in memory.

Protobuf turns two bytes of a file into an object of a hundred, so that a small file can fill the memory. This follows
the wire format (https://protobuf.dev/programming-guides/encoding) through the messages of onnx.proto, and copies none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.errors import Refused
from intake.limits import LIMITS, MIB
from intake.parsing.untrusted import cut_short

LARGEST_BYTES = 2**31 - 1
"""Of a protobuf message."""
STRUCTURE_BYTES = 64 * MIB
"""Of everything but the numbers of tensors."""
FIELDS = 500_000
"""Of the messages below; a transformer of 2,000 operators has 30,000."""

_NESTED: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {},
}
"""Which fields of a message are messages that matter here."""
_NUMBERS = frozenset((4, 5, 7, 9, 10, 11))
"""Fields of a tensor with its content."""
_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5


class _NoProtobuf(Exception):
    """The bytes are no message."""


class _CutShort(Exception):
    """A field goes on behind the end."""


@dataclass
class _Counts:
    fields: int = 0
    nodes: int = 0
    numbers: int = 0
    """Bytes of the content of tensors."""


def scan(content: bytes) -> None:
    """Nothing for a file that may be parsed. Raises `Refused` for one that is too large, too deep or no ONNX file."""
    if not content:
        raise cut_short(0)
    if len(content) > LARGEST_BYTES:
        raise Refused(
            f"The file has {len(content):,} bytes", expected=f"at most {LARGEST_BYTES:,}, the most that ONNX allows"
        )
    counts = _Counts()
    try:
        _walk(memoryview(content), "model", 0, counts)
    except _CutShort:
        raise cut_short(len(content), "an ONNX file, whose parts go on behind that") from None
    except _NoProtobuf:
        raise no_onnx() from None
    if counts.nodes == 0:
        raise no_onnx()
    if (structure := len(content) - counts.numbers) > STRUCTURE_BYTES:
        raise Refused(
            f"Names, shapes and attributes take {structure:,} bytes of this file",
            expected=f"at most {STRUCTURE_BYTES:,} beside the weights",
        )


def no_onnx() -> Refused:
    """That the file is something else."""
    return Refused("This is not an ONNX file", expected="a graph with at least one operator, in a single .onnx file")


def _walk(view: memoryview, message: str, depth: int, counts: _Counts) -> None:
    """Count what is in a message; `depth` is the number of graphs around it."""
    depth += message == "graph"
    if depth > LIMITS.graph_depth:
        raise Refused(f"Its graphs are nested more than {LIMITS.graph_depth} deep", expected="one graph, or a few")
    counts.nodes += message == "node"
    if counts.nodes > LIMITS.graph_nodes:
        raise Refused(f"The graph has more than {LIMITS.graph_nodes:,} operators", expected="at most as many")
    for number, part in _fields(view, strict=message == "model"):
        counts.fields += 1
        if counts.fields > FIELDS:
            raise Refused(f"The file has more than {FIELDS:,} names, numbers and attributes beside its weights")
        if message == "tensor" and number in _NUMBERS:
            counts.numbers += len(part)
        if inner := _NESTED[message].get(number):
            _walk(part, inner, depth, counts)


def _fields(view: memoryview, *, strict: bool) -> Iterator[tuple[int, memoryview]]:
    """(number, bytes) of each field of a message; no bytes for plain numbers.

    With `strict` the first field has to look like one of ONNX, before anything is called cut short.
    """
    place, end = 0, len(view)
    while place < end:
        first = place == 0
        tag, place = _varint(view, place)
        number, wire = tag >> 3, tag & 7
        if number == 0 or (strict and number > 31):
            raise _NoProtobuf
        size = {_VARINT: 0, _EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire)
        if wire == _VARINT:
            _, place = _varint(view, place)
        elif wire == _MESSAGE:
            size, place = _varint(view, place)
        if size is None or (strict and first and number not in (1, 2, 7, 8)):
            raise _NoProtobuf
        if place + size > end:
            raise _CutShort
        yield number, view[place : place + size] if wire == _MESSAGE else view[0:0]
        place += size


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """A number in seven bits a byte, and where it ends."""
    if place < len(view) and view[place] < 128:  # nearly all of them
        return view[place], place + 1
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            raise _CutShort
        byte = view[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise _NoProtobuf
