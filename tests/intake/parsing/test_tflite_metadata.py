"""What a `.tflite` file says beside its network, honest and hostile."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from intake.parsing.tflite_metadata import MOST_LABEL_BYTES, Said, said_in
from intake.parsing.tflite_scan import scanned
from intake.preprocessing import of_tflite
from tests.hostile.tflites import plain, taken
from tests.intake.parsing.test_tflite import parsed
from tests.intake.parsing.tflite_metadata_files import metadata, with_metadata

NAMES = "ant\nbee\nbeetle\n"


def said(folder: Path, content: bytes, channels: int = 3) -> Said:
    return said_in(plain(folder, content), scanned(content), 3, channels)


def test_mean_deviation_and_names_are_those_of_the_metadata(tmp_path: Path) -> None:
    content = with_metadata(
        taken("plain"), metadata(mean=[127], std=[128], labels="labels.txt"), {"other.txt": "x", "labels.txt": NAMES}
    )
    item = parsed(plain(tmp_path, content), tmp_path / "out")
    assert item.labels == ("ant", "bee", "beetle")
    assert "labels.txt in the file names its classes." in item.notes
    wanted = of_tflite(item)
    assert (wanted.mean, wanted.std, wanted.source) == ((127.0,) * 3, (128.0,) * 3, "from the file's metadata")
    assert not item.warnings


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({"mean": [0, 1, 2], "std": [3, 4, 5]}, (0, 1, 2), (3, 4, 5)),
        ({"mean": [0], "std": [1]}, (0, 0, 0), (1, 1, 1)),
        ({"mean": [0.5], "std": [0.25]}, (127.5,) * 3, (63.75,) * 3),  # for pixels from 0 to 1
        ({"least": -1.0, "most": 1.0}, (127.5,) * 3, (127.5,) * 3),
        ({"least": 0.0, "most": 1.0}, (0,) * 3, (255,) * 3),
        ({"least": -1.0, "most": 1.0, "mean": [0], "std": [255]}, (0,) * 3, (255,) * 3),
        ({"mean": [0, 1], "std": [1]}, (), ()),
        ({"mean": [float("nan")], "std": [1]}, (), ()),
        ({"mean": [0], "std": [0]}, (), ()),
        ({"mean": [0], "std": [-1]}, (), ()),
        ({"least": 1.0, "most": 1.0}, (), ()),
        ({}, (), ()),
    ],
)
def test_what_the_numbers_mean(given: dict[str, object], mean: object, std: object, tmp_path: Path) -> None:
    found = said(tmp_path, with_metadata(taken("plain"), metadata(**given)))  # type: ignore[arg-type]
    assert (found.mean, found.std) == (pytest.approx(mean), pytest.approx(std))


@pytest.mark.parametrize("kind", [0, 8])
def test_names_are_cleaned_and_what_names_one_class_less_lacks_the_background(kind: int, tmp_path: Path) -> None:
    content = with_metadata(taken("plain"), metadata(labels="l"), {"l": "a\x07b \r\n<b>bee</b>\r\n\r\n"}, kind)
    found = said(tmp_path, content)
    assert found.labels == ("background", "a\\x07b", "<b>bee</b>")
    assert "names 2 of its 3 classes" in found.notes[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Cut short"),
        ({"other.txt": NAMES}, "not in it"),
        ({"labels.txt": "a\nb\nc\nd"}, "has 4 names for 3 classes"),
        ({"labels.txt": "x" * (MOST_LABEL_BYTES + 1)}, "would have 4,194,305 bytes; expected at most"),
    ],
)
def test_names_that_cannot_be_read_are_left_aside_with_a_sentence(
    files: dict[str, str], words: str, tmp_path: Path
) -> None:
    content = with_metadata(taken("plain"), metadata(mean=[1], std=[2], labels="labels.txt"), files)
    found = said(tmp_path, content)
    assert (found.labels, found.mean) == ((), (1.0,) * 3)
    assert words in found.warnings[0]
    assert "left aside" in found.warnings[0]


def test_an_entry_that_grows_beyond_what_it_says_is_not_unpacked(tmp_path: Path) -> None:
    """A bomb: 10 MB of zeros that the zip says are 20 bytes."""
    bomb = zlib.compress(bytes(10_000_000), 9, -15)
    content = with_metadata(taken("plain"), metadata(labels="labels.txt"), {"labels.txt": bomb}, 0)
    tail = bytearray(content)
    for signature, method_at, size_at in ((b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)):
        at = content.rfind(signature)
        tail[at + method_at : at + method_at + 2] = (8).to_bytes(2, "little")
        tail[at + size_at : at + size_at + 4] = (20).to_bytes(4, "little")
    found = said(tmp_path, bytes(tail))
    assert found.labels == ()
    assert "damaged" in found.warnings[0]


def test_random_damage_to_metadata_leaves_the_network(tmp_path: Path) -> None:
    random, honest = np.random.default_rng(0), metadata(mean=[1, 2, 3], std=[4, 5, 6], labels="labels.txt")
    changed = 0
    for _ in range(100):
        told = bytearray(honest)
        for place in random.integers(8, len(told), random.integers(1, 6)):
            told[place] = random.integers(256)
        content = with_metadata(taken("plain"), bytes(told), {"labels.txt": NAMES})
        found = said(tmp_path, content)
        assert len(found.labels) in (0, 3)
        assert all(len(each) in (0, 3) for each in (found.mean, found.std))
        changed += found != said_in(plain(tmp_path, content), scanned(taken("plain")), 3, 3)
    assert changed
