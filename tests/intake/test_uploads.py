"""Files on their way in: what is taken, what it counts for, and what is left of those that end early."""

from __future__ import annotations

import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from core.errors import BadInput, Refused
from intake import uploads
from intake.library import own_folder
from intake.limits import KEPT_FREE_BYTES
from intake.uploads import Part, Upload, begin

GIB = 2**30
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a quota of 1 GiB."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    monkeypatch.setenv("STUDIO_QUOTA_GB", "1")
    return tmp_path


def test_what_was_written_is_there_once_it_is_finished_and_gone_once_it_is_deleted() -> None:
    upload = begin("ada", "net.PT", 6, "model")
    with Part(upload) as part:
        part.write(b"abc")
        assert not upload.path.exists()
        part.write(b"def")
        assert part.finish() == upload.path
    assert upload.path.read_bytes() == b"abcdef"
    assert upload.path.name == "content.pt"
    assert uploads.find("ada", upload.id) == upload
    with pytest.raises(BadInput, match="not here any more"):
        uploads.find("bob", upload.id)
    uploads.delete("ada", upload.id)
    assert uploads.waiting("ada") == []
    assert not upload.path.parent.exists()


def write(upload: Upload, *pieces: bytes) -> None:
    with Part(upload) as part:
        for piece in pieces:
            part.write(piece)
        part.finish()


@pytest.mark.parametrize(("content", "says"), [(b"abcd", "is longer than"), (b"ab", "cut short: 2 bytes of 3 byte")])
def test_more_or_less_than_promised_is_refused_and_leaves_nothing(content: bytes, says: str) -> None:
    upload = begin("", "a.pt", 3, "model")
    with pytest.raises(Refused, match=says):
        write(upload, content)
    assert list((own_folder("") / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("size_bytes", "wanted", "says"),
    [
        (0, "model", r"a.bin is empty \(0 bytes\)"),
        (5 * GIB, "model", "a.bin has 5 GiB; expected at most 4 GiB"),
        (9 * GIB, "data", "a.bin has 9 GiB; expected at most 8 GiB"),
        (2 * GIB, "data", "of your 1 GiB there are 1 GiB left"),
    ],
)
def test_what_is_empty_or_too_large_is_refused_before_it_comes(
    size_bytes: int, wanted: uploads.Wanted, says: str
) -> None:
    with pytest.raises(Refused, match=says):
        begin("", "a.bin", size_bytes, wanted)
    assert uploads.waiting("") == []


def test_what_is_on_its_way_counts_as_if_it_were_there_for_its_owner_alone() -> None:
    begin("ada", "a.bin", 700 * 2**20, "data")
    (item := own_folder("ada") / "items").mkdir()
    (item / "x").write_bytes(bytes(1000))
    assert uploads.kept_bytes("ada") == 700 * 2**20 + 1000
    with pytest.raises(Refused, match=r"of your 1 GiB there are 324.0 MiB|324 MiB left"):
        begin("ada", "b.bin", 400 * 2**20, "data")
    assert uploads.kept_bytes("bob") == 0
    assert begin("bob", "b.bin", 400 * 2**20, "data")


def test_a_disk_that_is_nearly_full_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = begin("", "a.bin", 1000, "data")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(GIB, 0, KEPT_FREE_BYTES + 500))
    with pytest.raises(Refused, match="nearly full"):
        begin("", "b.bin", 1000, "data")
    with pytest.raises(Refused, match="nearly full"):
        write(upload, bytes(400), bytes(600))


def test_what_a_broken_upload_left_is_deleted_a_day_later() -> None:
    old, new = begin("", "a.bin", 10, "data"), begin("", "b.bin", 10, "data")
    for path in (old.part.parent, *old.part.parent.iterdir()):
        os.utime(path, (0, time.time() - 25 * 3600))
    begin("", "c.bin", 10, "data")
    assert [each.name for each in uploads.waiting("")] == ["c.bin", new.name]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a\\net.pt", "net.pt"),
        ("<img src=x onerror=alert(1)>.pt", "<img src=x onerror=alert(1)>.pt"),
        ("=cmd|calc.zip", "=cmd|calc.zip"),
        ("a\x00b\n\x1b[31m.pt", "ab[31m.pt"),
        ("gpj.\u202etp", "gpj.tp"),
        ("..", ".."),
        ("/", "The file"),
        ("x" * 500 + ".onnx", "x" * 99 + "…" + "x" * 15 + ".onnx"),
    ],
)
def test_a_name_is_text_and_never_a_path(name: str, shown: str, data: Path) -> None:
    upload = begin("", name, 1, "model")
    assert upload.name == shown
    assert upload.path.parent == data / "own" / "everyone" / "uploads" / upload.id
    assert upload.path.name.startswith("content")


@pytest.mark.parametrize("key", ["", "..", "../../x", "0123456789AB", "0123456789abc"])
def test_nothing_but_an_id_finds_an_upload(key: str) -> None:
    with pytest.raises(BadInput):
        uploads.find("", key)
    with pytest.raises(BadInput):
        uploads.delete("", key)
