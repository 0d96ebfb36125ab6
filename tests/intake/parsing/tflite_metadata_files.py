"""TFLite Metadata, written field by field with the builder of flatbuffers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.hostile.tflites import packed, read


def metadata(
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    least: float | None = None,
    most: float = 1,
    labels: str = "",
) -> bytes:
    """Of one input and one output: a step that normalises, statistics of the input, a file that names the classes."""
    builder = flatbuffers.Builder(256)
    steps = statistics = files = 0
    if mean:
        options = _table(builder, 2, {0: _floats(builder, mean), 1: _floats(builder, std)})
        steps = _vector(builder, _table(builder, 2, {1: options}, small={0: 1}))
    if least is not None:
        statistics = _table(builder, 2, {0: _floats(builder, [most]), 1: _floats(builder, [least])})
    if labels:
        files = _vector(builder, _table(builder, 4, {0: builder.CreateString(labels)}, small={2: 2}))
    given = _vector(builder, _table(builder, 7, {4: steps, 5: statistics}))
    answer = _vector(builder, _table(builder, 7, {6: files}))
    graphs = _vector(builder, _table(builder, 7, {2: given, 3: answer}))
    builder.Finish(_table(builder, 8, {3: graphs}), b"M001")
    return bytes(builder.Output())


def with_metadata(content: bytes, said: bytes, files: Mapping[str, str | bytes] | None = None, kind: int = 8) -> bytes:
    """The file with metadata in it, and files in a zip at its end, deflated or (0) as they are."""
    model = read(content)
    stored, entry = schema.BufferT(), schema.MetadataT()
    stored.data = np.frombuffer(said, np.uint8)
    model.buffers.append(stored)
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    stream = io.BytesIO(packed(model))
    if files:
        with zipfile.ZipFile(stream, "a", kind) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    return stream.getvalue()


def _table(builder: Any, fields: int, others: Mapping[int, int], small: Mapping[int, int] | None = None) -> int:
    """A table whose fields are other things, or numbers of one byte."""
    builder.StartObject(fields)
    for place, value in (small or {}).items():
        builder.PrependUint8Slot(place, value, 0)
    for place, offset in others.items():
        if offset:
            builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    return int(builder.EndObject())


def _vector(builder: Any, table: int) -> int:
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def _floats(builder: Any, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
