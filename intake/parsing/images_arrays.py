"""Images and labels of an npz file, read row by row and never unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.data import Pixels
from core.errors import Refused
from core.progress import Steps
from intake.index import SplitName
from intake.limits import LIMITS, MIB
from intake.parsing.archives import READ_ERRORS
from intake.parsing.pace import Pace
from intake.parsing.untrusted import shown

SNIPPET = """import numpy as np
# images: uint8 [N, H, W, C], labels: int64 [N] with classes from 0
np.savez_compressed("data.npz", x=images, y=labels)"""
EXPECTED = "x of uint8 [N, H, W, C], [N, C, H, W] or [N, H, W], and y of integers [N]"
_CHUNK_BYTES = 8 * MIB
_DEPTHS = (1, 3, 4)
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Header:
    """What an npy entry says of itself."""

    entry: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bytes_before: int


@dataclass(frozen=True)
class Part:
    """The images of one split."""

    x: Header
    y: Header | None
    split: SplitName
    layout: Literal["NHW", "NHWC", "NCHW"]

    def __len__(self) -> int:
        return self.x.shape[0]


@dataclass(frozen=True)
class Arrays:
    """The arrays of an npz file, not read yet."""

    archive: zipfile.ZipFile
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))


def is_npz(names: list[str]) -> bool:
    """Whether a zip with these names was written by numpy."""
    return bool(names) and all(name.endswith(".npy") for name in names)


def arrays_of(archive: zipfile.ZipFile) -> Arrays:
    """The arrays that an npz file has, checked by their headers. Raises `Refused` for what are no images and labels."""
    names = {name.removesuffix(".npy").lower(): name for name in archive.namelist()}
    if "x_train" in names and "x_test" in names:
        pairs: list[tuple[str, str, SplitName]] = [("x_train", "y_train", "train"), ("x_test", "y_test", "test")]
    elif "x" in names:
        pairs = [("x", "y", "all")]
    else:
        found = ", ".join(shown(name) for name in list(names)[:5]) or "nothing"
        raise Refused(f"The npz file holds {found}", expected="arrays called x and y", snippet=SNIPPET)
    parts = tuple(_part(archive, names[x], names.get(y), split) for x, y, split in pairs)
    count = sum(map(len, parts))
    if count == 0:
        raise Refused("0 images: x has no rows", expected=EXPECTED, snippet=SNIPPET)
    if count > LIMITS.images:
        raise Refused(f"x has {count:,} images", expected=f"at most {LIMITS.images:,}", action="Take fewer")
    return Arrays(archive, parts)


def scale_of(arrays: Arrays) -> Steps[float]:
    """What the numbers of x are multiplied by to become 0-255. Raises `Refused` where that is not clear."""
    if all(part.x.dtype.kind == "b" for part in arrays.parts):
        return 255.0
    if all(part.x.dtype == np.uint8 for part in arrays.parts):
        return 1.0
    low, high = math.inf, -math.inf
    pace, done = Pace(len(arrays), "images", "Looking at the range of the numbers"), 0
    for part in arrays.parts:
        for first, rows in _chunks(arrays.archive, part.x):
            if not np.isfinite(rows).all():
                broken = first + int(np.argmin(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)))
                raise Refused(f"{_name(part.x)}, row {broken} has numbers that are not finite", snippet=SNIPPET)
            low, high = min(low, float(rows.min())), max(high, float(rows.max()))
            yield from pace.at(done := done + len(rows))
    is_float = any(part.x.dtype.kind == "f" for part in arrays.parts)
    return _scale(low, high, is_float=is_float)


def images_of(arrays: Arrays, scale: float) -> Iterator[tuple[int, Image.Image]]:
    """Each image in mode L, RGB or RGBA with its row; those of `x_test` come after those of `x_train`."""
    before = 0
    for part in arrays.parts:
        for first, rows in _chunks(arrays.archive, part.x):
            pixels = _eight_bits(rows, scale)
            for row, image in enumerate(pixels):
                yield before + first + row, _image(image, part.layout)
        before += len(part)


def labels_of(arrays: Arrays) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes, and the number of each image's; no classes and -1 without labels. Raises `Refused`."""
    if all(part.y is None for part in arrays.parts):
        return (), np.full(len(arrays), -1, np.int64)
    if missing := [part for part in arrays.parts if part.y is None]:
        raise Refused(
            f"{_name(missing[0].x)} has no labels beside it",
            expected="labels for all images or for none",
            snippet=SNIPPET,
        )
    read = np.concatenate([_labels(arrays.archive, part.y) for part in arrays.parts if part.y])
    values, numbers = np.unique(read, return_inverse=True)
    return tuple(str(value) for value in values), numbers.astype(np.int64)


def _part(archive: zipfile.ZipFile, x: str, y: str | None, split: SplitName) -> Part:
    images = _header(archive, x)
    labels = _header(archive, y) if y else None
    part = Part(images, labels, split, _layout(images))
    if math.prod(images.shape[1:]) > LIMITS.image_pixels:
        raise Refused(f"Each image of {_name(images)} has {math.prod(images.shape[1:]):,} numbers", expected=EXPECTED)
    if labels and (len(labels.shape) not in (1, 2) or (len(labels.shape) == 2 and labels.shape[1] != 1)):
        raise Refused(
            f"{_name(labels)} has the shape {list(labels.shape)}",
            expected="one class number for each image, [N]",
            snippet="y = y.argmax(axis=1)  # if each row has a 1 at its class\n" + SNIPPET,
        )
    if labels and labels.shape[0] != images.shape[0]:
        raise Refused(
            f"{_name(images)} has {images.shape[0]:,} images and {_name(labels)} {labels.shape[0]:,} labels",
            expected="one label for each image",
            snippet=SNIPPET,
        )
    return part


def _header(archive: zipfile.ZipFile, entry: str) -> Header:
    """Of an npy entry: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""
    name = shown(entry.removesuffix(".npy"))
    try:
        with archive.open(entry) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
            before = stream.tell()
    except READ_ERRORS:
        raise Refused(f"{name} is no array that numpy wrote", expected=EXPECTED, snippet=SNIPPET) from None
    if dtype.hasobject or dtype.kind not in "biufU":
        kind = "Python objects, which would have to be unpickled" if dtype.hasobject else f"numbers of type {dtype}"
        raise Refused(f"{name} holds {kind}", expected=EXPECTED, snippet=SNIPPET)
    if by_columns and len(shape) > 1:
        action = "Save np.ascontiguousarray of it"
        raise Refused(f"{name} is stored column by column", expected="rows one after the other", action=action)
    held = archive.getinfo(entry).file_size - before
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != held:
        raise Refused(
            f"{name} says it has the shape {list(shape)} of {dtype}, and the file holds {held:,} bytes",
            action="Save it again",
            snippet=SNIPPET,
        )
    return Header(entry, tuple(shape), dtype, before)


def _layout(x: Header) -> Literal["NHW", "NHWC", "NCHW"]:
    sides = x.shape
    if x.dtype.kind == "U":
        raise Refused(f"{_name(x)} holds text", expected=EXPECTED, snippet=SNIPPET)
    if len(sides) == 3 and sides[2] not in _DEPTHS and 0 not in sides[1:]:
        return "NHW"
    if len(sides) == 4 and 0 not in sides[1:]:
        last, second = sides[3] in _DEPTHS, sides[1] in (1, 3)
        if last and not (second and sides[2] == sides[3]):
            return "NHWC"
        if second and not last:
            return "NCHW"
    raise Refused(
        f"{_name(x)} has the shape {list(sides)} and the type {x.dtype}",
        expected=EXPECTED + ", with N first even for a single image",
        snippet=SNIPPET,
    )


def _chunks(archive: zipfile.ZipFile, header: Header) -> Iterator[tuple[int, NDArray[Any]]]:
    """The number of the first row and some rows, over and over to the end, where the checksum is compared."""
    row_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
    step = max(1, _CHUNK_BYTES // max(1, row_bytes))
    try:
        with archive.open(header.entry) as stream:
            stream.read(header.bytes_before)
            for first in range(0, header.shape[0], step):
                count = min(step, header.shape[0] - first)
                content = stream.read(count * row_bytes)
                yield first, np.frombuffer(content, header.dtype).reshape(count, *header.shape[1:])
            stream.read(1)
    except READ_ERRORS as error:
        raise Refused(f"{_name(header)} is damaged ({shown(str(error))})", action="Save it again") from None


def _scale(low: float, high: float, *, is_float: bool) -> float:
    if low < 0 or high > (255 if is_float else 0xFFFF):
        raise Refused(
            f"x holds numbers from {low:.4g} to {high:.4g}",
            expected="0 to 255, or 0 to 1",
            action="Save the images as they were before they were normalised",
            snippet=SNIPPET,
        )
    if is_float and high <= 1:
        return 255.0
    return 1.0 if high <= 255 else 1 / 257


def _eight_bits(rows: NDArray[Any], scale: float) -> Pixels:
    if rows.dtype == np.uint8 and scale == 1:
        return np.asarray(rows, np.uint8)
    return np.asarray(np.rint(rows.astype(np.float32) * np.float32(scale)), np.uint8)


def _image(pixels: Pixels, layout: str) -> Image.Image:
    plain = pixels.transpose(1, 2, 0) if layout == "NCHW" else pixels
    if plain.ndim == 3 and plain.shape[2] == 1:
        plain = plain[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(plain))


def _labels(archive: zipfile.ZipFile, y: Header) -> NDArray[Any]:
    """int64 [N] or text [N]."""
    if y.dtype.kind == "U" and y.dtype.itemsize > 4 * _LONGEST_TEXT:
        raise Refused(
            f"{_name(y)} holds names of up to {y.dtype.itemsize // 4:,} characters", expected=f"at most {_LONGEST_TEXT}"
        )
    values = np.concatenate([rows for _, rows in _chunks(archive, y)]).reshape(-1)
    if y.dtype.kind == "U":
        return values
    wrong = (values.astype(np.float64) % 1 != 0) | (values < 0) | (values > 2**31)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise Refused(
            f"{_name(y)}, row {row} has the label {values[row]}", expected="a whole number from 0", snippet=SNIPPET
        )
    return values.astype(np.int64)


def _name(header: Header) -> str:
    return shown(header.entry.removesuffix(".npy"))
