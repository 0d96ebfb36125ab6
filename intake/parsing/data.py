"""Reads a set of images that somebody uploaded: a zip of class folders, of images and a table, or an npz file."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import Refused
from core.progress import Steps
from intake.items import ImageSet
from intake.parsing.archives import READ_ERRORS, opened
from intake.parsing.images import Picture, check_size, decoded, without_transparency
from intake.parsing.images_arrays import Arrays, arrays_of, images_of, is_npz, labels_of, scale_of
from intake.parsing.images_foreign import HEAD_BYTES, check_is_zip
from intake.parsing.images_layout import Contents, Layout, by_folders, contents, noted
from intake.parsing.images_survey import Survey
from intake.parsing.images_table import MOST_TABLE_BYTES, SNIPPET, by_table
from intake.parsing.pace import Pace
from intake.parsing.untrusted import shown

_DRAFT = 192
"""Pixels a side that are enough for a thumbnail."""


def parse(file: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """The facts of an `ImageSet`, whose index and thumbnails lie in `out` afterwards.

    `options` may have the `name` under which the file was uploaded. Each image is decoded once, and at most a thousand
    of them in full colour depth for their statistics; what cannot be read is skipped and listed. Raises `Refused`.
    """
    name, size_bytes = str(options.get("name") or file.name), file.stat().st_size
    with file.open("rb") as stream:
        check_is_zip(stream.read(HEAD_BYTES), size_bytes, name)
    with opened(file, name) as archive:
        if is_npz(archive.namelist()):
            facts = yield from _parse_arrays(archive, out)
        else:
            facts = yield from _parse_files(archive, out, name)
    return ImageSet(name=name, size_bytes=size_bytes, **facts).model_dump(mode="json")


def entry_bytes(archive: zipfile.ZipFile, entry: str) -> bytes:
    """One image file of a zip. Raises `Refused` with the reason alone."""
    check_size(archive.getinfo(entry).file_size)
    try:
        return archive.read(entry)
    except READ_ERRORS as error:
        raise Refused(f"damaged in the zip ({shown(str(error))})") from None


def _parse_files(archive: zipfile.ZipFile, out: Path, name: str) -> Steps[dict[str, Any]]:
    names = archive.namelist()
    if any(entry.endswith("data.pkl") for entry in names):
        raise Refused(f"{shown(name)} looks like a checkpoint of PyTorch", action="Upload it as a model, not as data")
    found = contents(names, name)
    layout = _layout(archive, found)
    classes = _in_order({row.label for row in layout.rows if row.label is not None})
    numbers = {label: number for number, label in enumerate(classes)}
    survey = Survey(len(layout.rows), [shown(label) for label in classes])
    for path in layout.missing:
        survey.skip(path, "named in the table, but not in the zip")
    pace = Pace(len(layout.rows), "images", "Looking at each image")
    for done, row in enumerate(layout.rows, start=1):
        number = -1 if row.label is None else numbers[row.label]
        try:
            picture = decoded(entry_bytes(archive, row.entry), draft=0 if survey.wants_pixels else _DRAFT)
            survey.add(row.entry, number, row.split, picture)
        except Refused as reason:
            survey.skip(row.entry, reason.received)
        yield from pace.at(done)
    survey.check()
    survey.write(out)
    notes = (*noted(found), *layout.notes)
    warnings = (*layout.warnings, *_order_warning(layout, classes))
    return _facts(survey, layout.form, notes, warnings)


def _layout(archive: zipfile.ZipFile, found: Contents) -> Layout:
    def read(table: str) -> bytes:
        if archive.getinfo(table).file_size > MOST_TABLE_BYTES:
            raise Refused(f"{shown(table)} is larger than {MOST_TABLE_BYTES // 2**20} MiB", action="Take fewer rows")
        try:
            return entry_bytes(archive, table)
        except Refused as reason:
            raise Refused(f"{shown(table)}: {reason.received}", action="Make the zip again") from None

    table = by_table(found.images, found.tables, read)
    layout = table or by_folders(found.images)
    if layout.form == "plain" and found.tables:
        raise Refused(
            f"{shown(found.tables[0])} names no image that is in the zip",
            expected="paths as they are in the zip",
            snippet=SNIPPET,
        )
    if not layout.rows:
        raise Refused("0 images: the table has no rows for images of the zip", snippet=SNIPPET)
    return layout


def _parse_arrays(archive: zipfile.ZipFile, out: Path) -> Steps[dict[str, Any]]:
    arrays = arrays_of(archive)
    classes, numbers = labels_of(arrays)
    scale = yield from scale_of(arrays)
    survey = Survey(len(arrays), [shown(label) for label in classes])
    splits = [part.split for part in arrays.parts for _ in range(len(part))]
    pace = Pace(len(arrays), "images", "Looking at each image")
    for row, image in images_of(arrays, scale):
        kinds = tuple(kind for kind, is_so in _kinds(image.mode, scale) if is_so)
        survey.add(row, int(numbers[row]), splits[row], Picture(without_transparency(image), kinds, image.size))
        yield from pace.at(row + 1)
    survey.check()
    survey.write(out)
    return _facts(survey, "arrays", _scale_note(arrays, scale), () if classes else (_UNLABELLED,))


_UNLABELLED = "The file has no y, so what is measured is agreement with the untouched network instead of accuracy"


def _kinds(mode: str, scale: float) -> Iterable[tuple[str, bool]]:
    return ("grayscale", mode == "L"), ("RGBA", mode == "RGBA"), ("16-bit", scale < 1)


def _scale_note(arrays: Arrays, scale: float) -> tuple[str, ...]:
    kind = arrays.parts[0].x.dtype
    if scale == 255:
        return (f"x holds numbers of type {kind} from 0 to 1; they are multiplied by 255 and rounded",)
    return (f"x holds numbers of type {kind}; they are rounded to 8 bits",) if kind.kind == "f" else ()


def _facts(survey: Survey, form: str, notes: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "form": form,
        "notes": (*notes, *survey.notes),
        "warnings": (*warnings, *survey.warnings),
        "classes": survey.classes,
        "counts": survey.counts,
        "per_class": survey.per_class,
        "conversions": dict(survey.kinds),
        "skipped": tuple(survey.skipped),
        "skipped_count": survey.skipped_count,
        "channels": survey.channels,
        "sides": survey.sides,
        "mean": survey.mean,
        "std": survey.std,
    }


def _in_order(labels: Iterable[str]) -> list[str]:
    """By name, or by number where all of them are numbers."""
    found = sorted(labels)
    return sorted(found, key=int) if all(re.fullmatch("[0-9]{1,9}", label) for label in found) else found


def _order_warning(layout: Layout, classes: Sequence[str]) -> tuple[str, ...]:
    if layout.form != "folders" or list(classes) == sorted(classes):
        return ()
    return (
        "The folders are called by numbers, which are taken as the numbers of the classes. A network that was trained "
        "with ImageFolder of torchvision has them sorted as text instead (0, 1, 10, 2); then call the folders by the "
        "names of the classes",
    )
