"""Which class and split the images of a zip belong to, from the names of its entries alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from core.errors import Refused
from intake.index import SplitName
from intake.limits import LIMITS
from intake.parsing.images import SUFFIXES
from intake.parsing.untrusted import shown

TREE = """photos.zip
├── cats/  1.jpg  2.jpg
└── dogs/  1.jpg  2.jpg"""
"""What a zip should look like."""
TABLE_SUFFIXES = (".csv", ".tsv")
SPLITS: dict[str, SplitName] = {
    "train": "train", "training": "train", "val": "calibrate", "valid": "calibrate", "validation": "calibrate",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What folders, and tables, may be called that hold one split each."""
_RUBBISH = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Row:
    """One image."""

    entry: str
    label: str | None
    split: SplitName = "all"


@dataclass(frozen=True)
class Contents:
    """The names in a zip by what they are."""

    images: tuple[str, ...]
    tables: tuple[str, ...]
    others: dict[str, int]
    """How many there are of each other suffix."""


@dataclass(frozen=True)
class Layout:
    """How the images of a zip are arranged."""

    form: Literal["folders", "table", "plain"]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Images that a table names and the zip does not have."""


def contents(names: Iterable[str], name: str) -> Contents:
    """What the zip called `name` holds. Raises `Refused` for one without images, or with too many."""
    kept = [each for each in names if not _is_rubbish(each)]
    suffixes = [PurePosixPath(each).suffix.lower() for each in kept]
    images = tuple(each for each, suffix in zip(kept, suffixes, strict=True) if suffix in SUFFIXES)
    tables = tuple(each for each, suffix in zip(kept, suffixes, strict=True) if suffix in TABLE_SUFFIXES)
    others = Counter(each for each in suffixes if each not in SUFFIXES and each not in TABLE_SUFFIXES)
    if not images:
        found = f", but {_counted(others)}" if others else ""
        raise Refused(
            f"0 images: {shown(name)} holds no PNG, JPEG, WebP, BMP, GIF or TIFF file{found}",
            expected="a folder of images for each class",
            snippet=TREE,
        )
    if len(images) > LIMITS.images:
        raise Refused(
            f"{shown(name)} has {len(images):,} images", expected=f"at most {LIMITS.images:,}", action="Take fewer"
        )
    return Contents(images, tables, dict(others))


def by_folders(images: Sequence[str]) -> Layout:
    """Each class is a folder, below `train` and `test` where there are those; without folders nothing has a label."""
    paths = without_common_top([PurePosixPath(each).parts for each in images])
    splits: list[SplitName] = ["all"] * len(paths)
    if all(len(path) > 1 and path[0].lower() in SPLITS for path in paths):
        splits = settled([SPLITS[path[0].lower()] for path in paths])
        paths = [path[1:] for path in paths]
    rows = [
        Row(entry, path[0] if len(path) > 1 else None, split)
        for entry, path, split in zip(images, paths, splits, strict=True)
    ]
    labelled = [row for row in rows if row.label is not None]
    if not labelled:
        return Layout("plain", tuple(rows), warnings=(_without_labels(),))
    loose = len(rows) - len(labelled)
    notes = (f"{loose:,} of {len(rows):,} images lie in no class folder; they are left aside",) if loose else ()
    return Layout("folders", tuple(labelled), notes)


def without_common_top(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The paths below the folders that they all share and that cannot be the only class."""
    below = list(paths)
    while len({path[0] for path in below}) == 1 and min(map(len, below)) > 1:
        folders = {path[1] for path in below if len(path) > 2}
        if len(folders) < 2 and min(map(len, below)) < 3:
            break
        below = [path[1:] for path in below]
    return below


def noted(found: Contents) -> tuple[str, ...]:
    """What is said of files that are not read."""
    if not found.others:
        return ()
    inside = "; nothing inside another zip is read" if ".zip" in found.others else ""
    return (f"Left aside, because they are no images: {_counted(found.others)}{inside}",)


def settled(splits: Sequence[SplitName]) -> list[SplitName]:
    """The splits as they are used: without a test set the validation set is it, and one alone is none."""
    kinds = set(splits)
    if len(kinds) < 2:
        return ["all"] * len(splits)
    return ["test" if each == "calibrate" and "test" not in kinds else each for each in splits]


def _is_rubbish(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(each.startswith((".", "__MACOSX")) for each in parts)
    return name.endswith("/") or hidden or parts[-1].lower() in _RUBBISH


def _counted(others: dict[str, int]) -> str:
    """`3 .txt files, 1 .pdf file`, the most frequent first."""
    most = sorted(others.items(), key=lambda each: -each[1])[:5]
    words = [f"{count:,} {shown(suffix) or 'nameless'} file{'s' if count > 1 else ''}" for suffix, count in most]
    return ", ".join(words) + (" and others" if len(others) > len(most) else "")


def _without_labels() -> str:
    return (
        "The images have no labels, so what is measured is agreement with the untouched network. For accuracy, put "
        "each class into a folder of its own (cats/1.jpg, dogs/1.jpg), or a labels.csv with the columns path and label "
        "into the zip"
    )
