"""Pickles put together instruction by instruction, and the zips and headers that weights travel in. Needs no torch."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

COMMAND = 'touch "$STUDIO_MARKER"'
"""What a payload would do if anything ran it."""
FLOATS = np.arange(6, dtype="<f4").tobytes()
PARTS = {"version": b"3\n", "byteorder": b"little"}


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def several(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def numbers(values: tuple[int, ...]) -> bytes:
    return several(*map(number, values))


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + several(*arguments) + b"R"


def mapping(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 6) -> bytes:
    return several(text("storage"), name("torch", kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(
    values: bytes | None = None,
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] | None = None,
    first: int = 0,
    rebuild: str = "_rebuild_tensor_v2",
) -> bytes:
    """What describes a tensor; without `values` one of six floats in the storage `0`."""
    steps = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))) if strides is None else strides
    hooks = call("collections", "OrderedDict")
    return call(
        "torch._utils", rebuild, values or storage(), number(first), numbers(shape), numbers(steps), b"\x89", hooks
    )


def state(**entries: bytes) -> bytes:
    """A pickle of a dict of tensors whose names have dots for two underscores."""
    return pickled(mapping({key.replace("__", "."): value for key, value in entries.items()}))


def checkpoint(folder: Path, pickle: bytes, *, file: str = "weights.pt", **others: bytes) -> Path:
    """A file as `torch.save` writes it, with that pickle; `data_1` is the storage 1, and so on."""
    parts = {"data.pkl": pickle, **PARTS, "data/0": FLOATS}
    parts |= {key.replace("data_", "data/"): value for key, value in others.items()}
    return zipped(folder / file, {f"weights/{key}": value for key, value in parts.items()})


def zipped(path: Path, parts: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for key, value in parts.items():
            archive.writestr(zipfile.ZipInfo(key) if method == zipfile.ZIP_STORED else key, value)
    return path


def safetensors(folder: Path, header: object, values: bytes = FLOATS, *, file: str = "weights.safetensors") -> Path:
    """A file with that header, which is JSON already where it is bytes."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return written(folder, struct.pack("<Q", len(content)) + content + values, file)


def entry(
    dtype: str = "F32", shape: tuple[object, ...] = (2, 3), begin: object = 0, end: object = 24
) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def written(folder: Path, content: bytes, file: str = "weights.pt") -> Path:
    (folder / file).write_bytes(content)
    return folder / file


def replaced(path: Path, old: bytes, new: bytes, *, at: int = 0) -> Path:
    """With one stretch of its bytes replaced, the first from `at` on (the last where `at` is -1)."""
    content = path.read_bytes()
    place = content.rindex(old) if at == -1 else content.index(old, at)
    path.write_bytes(content[:place] + new + content[place + len(old) :])
    return path
