"""What a `.tflite` file says beside its network: how pixels become its input, and what its classes are called.

Both are optional. Where they cannot be read, the network is taken without them, and a sentence says so. The tables are
those of TFLite Metadata, read by the places of their fields:
https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
The files that they name lie in a zip at the end of the file. Imports flatbuffers inside its functions.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import Refused
from intake.architectures import BACKGROUND
from intake.limits import MIB
from intake.parsing.tflite_scan import DAMAGED
from intake.parsing.untrusted import Untrusted, opened, shown
from intake.parsing.zip_index import Entry, entries, places

MOST_LABEL_BYTES = 4 * MIB
MOST_PARTS = 64
"""Inputs, steps and files that are looked at."""
_NAME, _IDENTIFIER = b"TFLITE_METADATA", b"M001"
_NORMALISATION, _LABELS = 1, 2
"""The kind of a step that is a NormalizationOptions, and of a file that is TENSOR_AXIS_LABELS."""
_LARGEST = 1e6
_STORED, _DEFLATED = 0, 8
# Places of fields in their tables.
_SUBGRAPHS, _INPUTS, _OUTPUTS = 3, 2, 3
_STEPS, _STATISTICS, _FILES = 4, 5, 6
_STEP_KIND, _STEP, _MEAN, _STD, _MOST, _LEAST = 0, 1, 0, 1, 0, 1
_FILE_NAME, _FILE_KIND = 0, 2


@dataclass(frozen=True)
class Said:
    """What the file says; empty where it says nothing."""

    mean: tuple[float, ...] = ()
    """Per channel, on the scale 0 to 255."""
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    """A name for each class."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def said_in(file: Path, model: Any, classes: int, channels: int) -> Said:
    """What the metadata of the file's `model` say of its one input and its scores. Raises nothing."""
    try:
        content = _metadata(model)
        if content is None:
            return Said()
        graph = _first(_root(content), _SUBGRAPHS)
        given, answer = _first(graph, _INPUTS), _first(graph, _OUTPUTS)
        mean, std = _scaling(given, channels)
        name = _label_file(answer)
    except DAMAGED as error:
        why = shown(str(error)) or type(error).__name__
        return Said(warnings=(f"Its metadata were left aside: they are damaged ({why}).",))
    said = Said(mean, std)
    return _with_labels(said, file, name, classes) if name else said


def _with_labels(said: Said, file: Path, name: str, classes: int) -> Said:
    try:
        with opened(file) as source:
            found = _names(_unpacked(source, name))
    except (Refused, *DAMAGED) as error:
        return replace(said, warnings=(f"The names of its classes ({shown(name)}) were left aside. {error}",))
    if len(found) == classes - 1:
        noted = f"{shown(name)} names {len(found):,} of its {classes:,} classes: the first is taken for the background."
        return replace(said, labels=(BACKGROUND, *found), notes=(noted,))
    if len(found) != classes:
        aside = f"{shown(name)} has {len(found):,} names for {classes:,} classes: they were left aside."
        return replace(said, warnings=(aside,))
    return replace(said, labels=found, notes=(f"{shown(name)} in the file names its classes.",))


def _metadata(model: Any) -> bytes | None:
    for place in range(min(model.MetadataLength(), MOST_PARTS)):
        each = model.Metadata(place)
        if each.Name() == _NAME and each.Buffer() < model.BuffersLength():
            stored = model.Buffers(each.Buffer()).DataAsNumpy()
            content = b"" if isinstance(stored, int) else stored.tobytes()
            return content if content[4:8] == _IDENTIFIER else None
    return None


def _root(content: bytes) -> Any:
    from flatbuffers import encode, packer
    from flatbuffers.table import Table

    return Table(content, encode.Get(packer.uoffset, content, 0))


def _field(table: Any, place: int) -> int:
    """Where in the content a field of the table is; 0 where it has none."""
    offset = table.Offset(4 + 2 * place) if table is not None else 0
    return table.Pos + offset if offset else 0


def _tables(table: Any, place: int) -> Iterator[Any]:
    """The tables in a vector of them, `MOST_PARTS` at most."""
    from flatbuffers.table import Table

    if at := _field(table, place):
        start = table.Vector(at - table.Pos)
        for which in range(min(table.VectorLen(at - table.Pos), MOST_PARTS)):
            yield Table(table.Bytes, table.Indirect(start + 4 * which))


def _first(table: Any, place: int) -> Any:
    return next(_tables(table, place), None)


def _table(table: Any, place: int) -> Any:
    from flatbuffers.table import Table

    at = _field(table, place)
    return Table(table.Bytes, table.Indirect(at)) if at else None


def _small(table: Any, place: int) -> int:
    """A number of one byte; 0 where it has none."""
    from flatbuffers.number_types import Uint8Flags

    at = _field(table, place)
    return int(table.Get(Uint8Flags, at)) if at else 0


def _floats(table: Any, place: int, channels: int) -> tuple[float, ...]:
    """One for each channel; empty where there are none, or another number, or not finite ones."""
    from flatbuffers.number_types import Float32Flags

    at = _field(table, place)
    count = table.VectorLen(at - table.Pos) if at else 0
    if count not in (1, channels):
        return ()
    start = table.Vector(at - table.Pos)
    values = tuple(float(table.Get(Float32Flags, start + 4 * which)) for which in range(count))
    good = all(math.isfinite(value) and abs(value) <= _LARGEST for value in values)
    return values * (channels if count == 1 else 1) if good else ()


def _scaling(given: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel, on the scale 0 to 255, that (pixels - mean) / std is what the network takes.

    A step that normalises says them, for pixels from 0 to 255; where every std is below 1 it meant pixels from 0 to 1,
    for pixels up to 255 would become far more than any network takes. Without such a step, the least and the most that
    the input holds say what 0 and 255 become. Empty where nothing does.
    """
    for step in _tables(given, _STEPS):
        if _small(step, _STEP_KIND) == _NORMALISATION:
            options = _table(step, _STEP)
            mean, std = _floats(options, _MEAN, channels), _floats(options, _STD, channels)
            if mean and std and min(std) > 1 / _LARGEST:
                scale = 255.0 if max(std) < 1 else 1.0
                return tuple(scale * each for each in mean), tuple(scale * each for each in std)
    statistics = _table(given, _STATISTICS)
    most, least = _floats(statistics, _MOST, channels), _floats(statistics, _LEAST, channels)
    if most and least and all(low < high for low, high in zip(least, most, strict=True)):
        spread = tuple(255 / (high - low) for low, high in zip(least, most, strict=True))
        return tuple(-low * each for low, each in zip(least, spread, strict=True)), spread
    return (), ()


def _label_file(answer: Any) -> str:
    """The name of the first file that names the classes; empty for none."""
    for each in _tables(answer, _FILES):
        at = _field(each, _FILE_NAME)
        if _small(each, _FILE_KIND) == _LABELS and at:
            return bytes(each.String(at)).decode("utf-8", "replace")
    return ""


def _unpacked(source: Untrusted, name: str) -> bytes:
    """An entry of the zip at the end of the file. Raises `Refused` for one that is large, damaged or not there."""
    found = entries(source)
    if name not in found:
        raise Refused("The file that the metadata name is not in it")
    entry = found[name]
    if max(entry.size, entry.packed) > MOST_LABEL_BYTES:
        raise Refused(f"They would have {entry.size:,} bytes", expected=f"at most {MOST_LABEL_BYTES:,}")
    packed = source.read(places(source, {name: entry})[name], entry.packed)
    content = _inflated(packed, entry)
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:
        raise Refused("They are damaged")
    return content


def _inflated(packed: bytes, entry: Entry) -> bytes:
    """At most one byte more than the entry says that there are."""
    if entry.method == _STORED:
        return packed
    if entry.method != _DEFLATED:
        raise Refused(f"They are compressed with method {entry.method}", expected="stored or deflated ones")
    try:
        return zlib.decompressobj(-15).decompress(packed, entry.size + 1)
    except zlib.error as error:
        raise Refused(f"They are damaged ({error})") from None


def _names(content: bytes) -> tuple[str, ...]:
    """One a line; empty lines at the end left out, and control characters replaced."""
    lines = content.decode("utf-8-sig", "replace").rstrip().splitlines()
    return tuple(shown(line.strip()) or str(place) for place, line in enumerate(lines))
