"""Texts and their labels from a CSV, TSV or JSONL file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BadInput

UNLABELLED = -1
_TEXT = ("text", "sentence", "content", "review", "document")
_LABEL = ("label", "labels", "class", "category", "target")
_LONGEST_FIELD = 1_000_000
_SHOWN = 60
_ZIP = b"PK\x03\x04"
_EXPECTED = "a column text and, where there are labels, a column label"


@dataclass(frozen=True)
class Texts:
    """In the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    """Class numbers, `UNLABELLED` where there is none."""
    empty: int
    """Rows that were left out because they hold no text."""

    @property
    def is_labelled(self) -> bool:
        """Whether any text has a label."""
        return any(label != UNLABELLED for label in self.labels)


def read_texts(file: Path, classes: Sequence[str]) -> Texts:
    """The texts of a file, with labels by the names or the numbers of these classes.

    Raises `BadInput` that names the row of a label which no class has, and for a file without texts.
    """
    texts, labels, empty = [], [], 0
    known = _known(classes)
    for row, (text, label) in enumerate(_rows(file), start=1):
        if not text.strip():
            empty += 1
            continue
        texts.append(text.strip())
        labels.append(_class_of(label, known, classes, f"{file.name}, row {row}"))
    if not texts:
        raise BadInput(f"{file.name} holds 0 texts", expected=_EXPECTED, action="Choose another file")
    return Texts(tuple(texts), tuple(labels), empty)


def _known(classes: Sequence[str]) -> dict[str, int]:
    """Class numbers by what may stand for them; a name goes before a number."""
    return {str(number): number for number in range(len(classes))} | {
        name.strip().casefold(): number for number, name in enumerate(classes)
    }


def _class_of(label: Any, known: dict[str, int], classes: Sequence[str], where: str) -> int:
    if label is None or str(label).strip() == "":
        return UNLABELLED
    written = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
    if written.strip() == str(UNLABELLED):
        return UNLABELLED
    found = known.get(written.strip().casefold())
    if found is None:
        shown = ", ".join(map(_shown, classes[:8])) + (", ..." if len(classes) > 8 else "")
        raise BadInput(
            f"{where} has the label '{_shown(written)}'",
            expected=f"one of the model's {len(classes)} classes ({shown}) or its number from 0 to {len(classes) - 1}",
            action="Correct the label, or bring a model for these classes",
        )
    return found


def _rows(file: Path) -> Iterator[tuple[str, Any]]:
    """(text, label) of each row; the label is None where there is none."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror})", action="Name a file that is there") from None
    _refuse_binary(file, raw)
    content = _decoded(raw)
    if file.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _json_rows(file, content)
    return _table_rows(file, content)


def _refuse_binary(file: Path, content: bytes) -> None:
    """Raises `BadInput` for what is no text, before anything of it could be quoted."""
    is_zip = content.startswith(_ZIP)
    if is_zip or b"\0" in content:
        raise BadInput(
            f"{_shown(file.name)} is {'a ZIP archive, as spreadsheets are,' if is_zip else 'binary'} and no text",
            expected=f"a CSV, TSV or JSONL file in UTF-8 with {_EXPECTED}",
            action="Unpack it, or save the table as CSV",
        )


def _shown(words: str) -> str:
    """At most 60 characters of what a file says, those that cannot be printed left out.

    >>> _shown("a" * 70)[-3:], _shown("a\\tb\\x07c")
    ('aa…', 'abc')
    """
    printable = "".join(each for each in words if each.isprintable())
    return printable if len(printable) <= _SHOWN else f"{printable[:_SHOWN]}…"


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _json_rows(file: Path, content: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise BadInput(
                f"{file.name}, line {number} is not a JSON object",
                expected='one object a line, as {"text": "...", "label": "..."}',
                action="Write the file as JSON lines",
            )
        text, label = _named(fields, _TEXT), _named(fields, _LABEL)
        if not isinstance(text, str):
            raise BadInput(f"{file.name}, line {number} has no text", expected=_EXPECTED, action="Add it")
        yield text, label


def _named(fields: dict[str, Any], names: Sequence[str]) -> Any:
    lowered = {str(name).lower(): value for name, value in fields.items()}
    return next((lowered[name] for name in names if name in lowered), None)


def _table_rows(file: Path, content: str) -> Iterator[tuple[str, Any]]:
    first = content.partition("\n")[0]
    separator = "\t" if file.suffix.lower() == ".tsv" or "\t" in first else ";" if _is_semicolons(first) else ","
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        rows = [row for row in csv.reader(content.splitlines(keepends=True), delimiter=separator) if row]
    except csv.Error as error:
        raise BadInput(f"{file.name} is not a table ({error})", expected=_EXPECTED, action="Save it as CSV") from None
    if not rows:
        return
    names = [name.strip().lower() for name in rows[0]]
    text = next((names.index(name) for name in _TEXT if name in names), None)
    label = next((names.index(name) for name in _LABEL if name in names), None)
    if text is None:
        if label is not None or len(names) > 2:
            columns = ", ".join(map(_shown, rows[0][:8])) + (", ..." if len(rows[0]) > 8 else "")
            raise BadInput(
                f"{file.name} has the columns {columns}",
                expected=_EXPECTED,
                action="Name the columns so",
            )
        text, label = 0, 1 if len(names) == 2 else None
    else:
        rows = rows[1:]
    for row in rows:
        yield row[text] if text < len(row) else "", row[label] if label is not None and label < len(row) else None


def _is_semicolons(line: str) -> bool:
    return line.count(";") == 1 and "," not in line
