"""The list of contents of zips against the standard library's reader."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from core.errors import Refused
from intake.parsing.untrusted import opened
from intake.parsing.zip_index import entries, places


def by_python(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {each.filename: archive.read(each) for each in archive.infolist() if not each.is_dir()}


def by_torch(folder: Path) -> Path:
    torch.save({"a": torch.rand(40), "b": torch.rand(3)}, folder / "torch.pt")
    return folder / "torch.pt"


def for_large_files(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "large.zip", "w") as archive:
        archive.mkdir("folder")
        for number in range(3):
            with archive.open(f"folder/{number}é.txt", "w", force_zip64=True) as file:
                file.write(bytes([number]) * 50)
    return folder / "large.zip"


def with_a_comment(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "comment.zip", "w") as archive:
        archive.writestr("a", b"b")
        archive.comment = b"written by hand"
    return folder / "comment.zip"


@pytest.mark.parametrize("build", [by_torch, for_large_files, with_a_comment])
def test_every_entry_lies_where_python_reads_it(build: object, tmp_path: Path) -> None:
    path = build(tmp_path)  # type: ignore[operator]
    with opened(path) as source:
        found = entries(source)
        begins = places(source, found)
        contents = {name: source.read(begins[name], entry.size) for name, entry in found.items()}
    assert contents == by_python(path)


def test_a_size_that_needs_64_bits_is_read(tmp_path: Path) -> None:
    """With a file that has a hole of 5 GiB and takes no room."""
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small", b"x")
    content = path.read_bytes()
    with path.open("wb") as file:
        file.write(content[:32])
        file.seek(5 << 30)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("far", b"far away")
    with opened(path) as source:
        found = entries(source)
        assert source.read(places(source, found)["far"], 8) == b"far away"


def test_a_text_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04 and no more")
    with opened(tmp_path / "x") as source, pytest.raises(Refused, match="Cut short"):
        entries(source)
