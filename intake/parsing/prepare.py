"""Brings the images of a set that was looked at before to the arrays that a network is measured with."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from core.data import Pixels
from core.errors import Refused
from core.progress import Steps
from intake.index import Entry
from intake.items import Geometry
from intake.parsing.archives import opened, size_text
from intake.parsing.data import entry_bytes
from intake.parsing.geometry import channels_first, fitted
from intake.parsing.images import decoded, without_transparency
from intake.parsing.images_arrays import arrays_of, images_of, is_npz, scale_of
from intake.parsing.pace import Pace
from intake.parsing.untrusted import shown


class Wanted(BaseModel):
    """What is to be written: `name.npy` and `name-labels.npy` for each name of `rows`."""

    model_config = ConfigDict(frozen=True)

    geometry: Geometry
    rows: dict[str, tuple[tuple[Entry, int], ...]]
    """Entry and class of each image, -1 without a label."""

    @property
    def count(self) -> int:
        """Images of all splits."""
        return sum(map(len, self.rows.values()))


@dataclass(frozen=True)
class _Place:
    """Where an image goes."""

    stream: BinaryIO
    offset: int


def parse(file: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """Write uint8 [N, C, H, W] and int64 [N, 1] of each split in the order of its rows; returns `{"counts": ...}`.

    `options` are a `Wanted` as plain data, or the name of a JSON file in `out` as `wanted`. Raises `Refused` where an
    image that could be read before cannot be read any more, or the disk is too full.
    """
    wanted = _wanted(out, options)
    _check_space(wanted, out)
    for split, rows in wanted.rows.items():
        labels = np.array([number for _, number in rows], np.int64).reshape(-1, 1)
        np.save(out / f"{split}-labels.npy", labels, allow_pickle=False)
    places, streams = _places(wanted, out)
    try:
        with opened(file, file.name) as archive:
            if is_npz(archive.namelist()):
                yield from _prepare_arrays(archive, wanted, places)
            else:
                yield from _prepare_files(archive, wanted, places)
    finally:
        for stream in streams:
            stream.close()
    return {"counts": {split: len(rows) for split, rows in wanted.rows.items()}}


def _wanted(out: Path, options: Mapping[str, Any]) -> Wanted:
    if name := options.get("wanted"):
        return Wanted.model_validate(json.loads((out / Path(str(name)).name).read_bytes()))
    return Wanted.model_validate(dict(options))


def _check_space(wanted: Wanted, out: Path) -> None:
    geometry = wanted.geometry
    needed = wanted.count * geometry.channels * geometry.height * geometry.width
    if needed > (free := shutil.disk_usage(out).free):
        raise Refused(
            f"{wanted.count:,} images of {geometry.channels} x {geometry.height} x {geometry.width} take "
            f"{size_text(needed)}, and {size_text(free)} are free",
            action="Free some space or take fewer images",
        )


def _places(wanted: Wanted, out: Path) -> tuple[dict[Entry, list[_Place]], list[BinaryIO]]:
    """Where each entry goes, and the files with their headers written."""
    geometry = wanted.geometry
    shape = (geometry.channels, geometry.height, geometry.width)
    places: dict[Entry, list[_Place]] = {}
    streams: list[BinaryIO] = []
    for split, rows in wanted.rows.items():
        stream = (out / f"{split}.npy").open("wb")
        streams.append(stream)
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        start, size = stream.tell(), int(np.prod(shape))
        for at, (entry, _) in enumerate(rows):
            places.setdefault(entry, []).append(_Place(stream, start + at * size))
    return places, streams


def _prepare_files(archive: zipfile.ZipFile, wanted: Wanted, places: Mapping[Entry, list[_Place]]) -> Steps[None]:
    pace = Pace(len(places), "images", "Bringing each image to the network's size")
    for done, (entry, goals) in enumerate(places.items(), start=1):
        try:
            picture = decoded(entry_bytes(archive, str(entry)))
        except (Refused, KeyError) as error:
            reason = error.received if isinstance(error, Refused) else "not in the zip"
            raise Refused(f"{shown(str(entry))}: {reason}", action="Upload the data again") from None
        _write(fitted(picture.image, wanted.geometry), goals)
        yield from pace.at(done)


def _prepare_arrays(archive: zipfile.ZipFile, wanted: Wanted, places: Mapping[Entry, list[_Place]]) -> Steps[None]:
    arrays = arrays_of(archive)
    scale = yield from scale_of(arrays)
    pace = Pace(len(arrays), "images", "Bringing each image to the network's size")
    for row, image in images_of(arrays, scale):
        if row in places:
            _write(_of_array(without_transparency(image), wanted.geometry), places[row])
        yield from pace.at(row + 1)


def _of_array(image: Image.Image, geometry: Geometry) -> Pixels:
    """Arrays of the network's very size were prepared for it: they are taken as they are, not cut again."""
    if image.size == (geometry.width, geometry.height):
        return channels_first(image.convert("L" if geometry.channels == 1 else "RGB"))
    return fitted(image, geometry)


def _write(pixels: Pixels, goals: list[_Place]) -> None:
    for goal in goals:
        goal.stream.seek(goal.offset)
        goal.stream.write(pixels.tobytes())
