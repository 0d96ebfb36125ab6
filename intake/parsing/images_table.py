"""Which class the images of a zip belong to, from a table of paths and labels in it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from core.errors import Refused
from intake.index import SplitName
from intake.limits import LIMITS, MIB
from intake.parsing.images import SUFFIXES
from intake.parsing.images_layout import SPLITS, Layout, Row, settled
from intake.parsing.untrusted import shown

MOST_TABLE_BYTES, MOST_TABLES = 64 * MIB, 20
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "image_path", "img", "filepath", "name", "id")
LABEL_COLUMNS = ("label", "labels", "class", "target", "category", "class_name", "y")
SPLIT_COLUMNS = ("split", "set", "subset")
LONGEST_LABEL = 200
SNIPPET = "path,label\nphotos/1.jpg,cat\nphotos/2.jpg,dog"
_Line = tuple[int, list[str]]


def by_table(images: Sequence[str], tables: Sequence[str], read: Callable[[str], bytes]) -> Layout | None:
    """What the tables among the images say of them; None where none of them speaks of any image.

    `read` gives the content of an entry. Raises `Refused` for a table that is ambiguous or names no label.
    """
    find = _finder(images)
    lines = {table: _lines(read(table), table) for table in tables[:MOST_TABLES]}
    speaking = [table for table, found in lines.items() if any(find(table, cell) for cell in _cells(found))]
    if not speaking:
        return None
    chosen = _chosen(speaking)
    rows: list[Row] = []
    missing: list[str] = []
    for table in chosen:
        _read_table(table, lines[table], find, rows, missing)
    return _layout(images, rows, missing)


def _layout(images: Sequence[str], rows: list[Row], missing: list[str]) -> Layout:
    splits: list[SplitName] = ["all"] * len(rows)
    if all(row.split != "all" for row in rows):
        splits = settled([row.split for row in rows])
    placed = tuple(Row(row.entry, row.label, split) for row, split in zip(rows, splits, strict=True))
    aside = len(images) - len(rows)
    notes = (f"{aside:,} of {len(images):,} images are in no row of the table; they are left aside",) if aside else ()
    return Layout("table", placed, notes, missing=tuple(missing))


def _chosen(tables: Sequence[str]) -> Sequence[str]:
    """The table called labels, else those called after splits, else the only one there is."""
    stems = {table: PurePosixPath(table).stem.lower() for table in tables}
    if called := [table for table, stem in stems.items() if stem == "labels"]:
        return called[:1]
    if splits := [table for table, stem in stems.items() if stem in SPLITS]:
        return splits
    if len(tables) > 1:
        names = ", ".join(shown(table) for table in tables[:5])
        raise Refused(f"The zip has {len(tables)} tables of images ({names})", expected="one, called labels.csv")
    return tables


def _lines(content: bytes, table: str) -> list[_Line]:
    """The rows of a table that are not empty, with their numbers in the file."""
    text = _decoded(content)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    lines: list[_Line] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
            if len(lines) > LIMITS.images + 1:
                raise Refused(f"{shown(table)} has more than {LIMITS.images:,} rows", action="Take fewer images")
    except csv.Error as error:
        raise Refused(f"{shown(table)}, row {reader.line_num}: {error}", snippet=SNIPPET) from None
    return lines


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _cells(lines: Sequence[_Line]) -> list[str]:
    return [cell for _, cells in lines[:1000] for cell in cells]


def _finder(images: Sequence[str]) -> Callable[[str, str], str | None]:
    """A function that finds the image that a table means by a path: from the top, beside the table, or by its name."""
    known = set(images)
    by_name: dict[str, str | None] = {}
    for image in images:
        for key in {PurePosixPath(image).name, PurePosixPath(image).stem}:
            by_name[key] = None if key in by_name else image

    def find(table: str, path: str) -> str | None:
        plain = path.replace("\\", "/").removeprefix("./")
        beside = str(PurePosixPath(table).parent / plain)
        exact = next((each for each in (plain, beside) if each in known), None)
        return exact or by_name.get(PurePosixPath(plain).name)

    return find


def _read_table(
    table: str,
    lines: Sequence[_Line],
    find: Callable[[str, str], str | None],
    rows: list[Row],
    missing: list[str],
) -> None:
    """Add a table's images to `rows`, and those that are not in the zip to `missing`."""
    path_at, label_at, split_at, body = _columns(table, lines, find)
    split_of_table: SplitName = SPLITS.get(PurePosixPath(table).stem.lower(), "all")
    seen = {row.entry for row in rows}
    for number, cells in body:
        where = f"{shown(table)}, row {number}"
        if len(cells) <= max(path_at, label_at) or not cells[label_at]:
            raise Refused(f"{where} has no label", expected="a path and a label in each row", snippet=SNIPPET)
        entry = find(table, cells[path_at])
        if entry is None:
            missing.append(cells[path_at])
            continue
        if entry in seen:
            raise Refused(f"{where}: {shown(entry)} is there a second time", expected="each image once")
        seen.add(entry)
        split = SPLITS.get(cells[split_at].lower(), "all") if 0 <= split_at < len(cells) else split_of_table
        rows.append(Row(entry, _label(cells[label_at], where), split))


def _columns(
    table: str, lines: Sequence[_Line], find: Callable[[str, str], str | None]
) -> tuple[int, int, int, Sequence[_Line]]:
    """Where path, label and split are (-1 without a split), and the rows below the header."""
    head = [cell.lower() for cell in lines[0][1]]
    path_at, label_at, split_at = (_called(head, names) for names in (PATH_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS))
    has_header = max(path_at, label_at) >= 0 or not any(find(table, cell) for cell in lines[0][1])
    if path_at < 0:
        path_at = _path_column(table, lines[1:] or lines, find)
    if label_at < 0:
        label_at = _only_other(table, len(head), path_at)
    return path_at, label_at, split_at, lines[1:] if has_header else lines


def _called(head: Sequence[str], names: Sequence[str]) -> int:
    return next((head.index(name) for name in names if name in head), -1)


def _path_column(table: str, lines: Sequence[_Line], find: Callable[[str, str], str | None]) -> int:
    """The column whose cells most often mean an image; a name that ends like an image's counts more than a bare one."""
    votes: Counter[int] = Counter()
    for _, cells in lines[:100]:
        for at, cell in enumerate(cells):
            votes[at] += (1 + cell.lower().endswith(SUFFIXES)) if find(table, cell) else 0
    return votes.most_common(1)[0][0]


def _only_other(table: str, columns: int, path_at: int) -> int:
    if columns != 2:
        raise Refused(
            f"{shown(table)} has {columns} columns and none is called label",
            expected="the columns path and label",
            snippet=SNIPPET,
        )
    return 1 - path_at


def _label(text: str, where: str) -> str:
    """A class by its name or its number, `3.0` as `3`."""
    number = re.fullmatch(r"(-?)0*([0-9]{1,9})(\.[0-9]*)?", text)
    if text.lower() == "nan" or (number and (number[1] or (number[3] or "").strip(".0"))):
        raise Refused(
            f"{where}: the label {shown(text)} is no class",
            expected="a name, or a whole number from 0",
            snippet=SNIPPET,
        )
    if len(text) > LONGEST_LABEL:
        raise Refused(f"{where}: the label has {len(text):,} characters", expected=f"at most {LONGEST_LABEL}")
    return number[2] if number else text
