"""What is said of sets of images: honest ones are taken, all others get their sentence, and nothing in them runs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import Refused
from core.progress import result_of
from intake.index import INDEX_FILE
from intake.items import THUMBNAILS_FILE, ImageSet
from intake.parsing import data
from tests.hostile.case import Case
from tests.hostile.data import CASES, image, zipped

HONEST = [case for case in CASES if case.honest]
HOSTILE = [case for case in CASES if not case.honest]


def read(file: Path, folder: Path) -> ImageSet:
    """The facts of a file."""
    return ImageSet.model_validate(result_of(data.parse(file, folder, {})))


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.id)
def test_what_cannot_be_used_gets_its_sentence(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setenv("STUDIO_MARKER", str(marker))
    file = case.build(tmp_path)
    start = time.process_time()
    with pytest.raises(Refused) as refused:
        read(file, tmp_path)
    assert case.says in str(refused.value)
    assert time.process_time() - start < 5
    assert len(str(refused.value)) < 700
    assert not marker.exists()


@pytest.mark.parametrize("case", HONEST, ids=lambda case: case.id)
def test_honest_sets_are_taken(case: Case, tmp_path: Path) -> None:
    images = read(case.build(tmp_path), tmp_path)
    assert images.images >= 2
    assert sum(images.per_class) == (images.images if images.classes else 0)


def zip_of(folder: Path, files: dict[str, bytes]) -> Path:
    return zipped(files)(folder)


def test_every_other_kind_of_image_is_counted_and_said(tmp_path: Path) -> None:
    files = {f"a/{at}.png": image() for at in range(5)} | {f"b/{at}.jpg": image("JPEG", "CMYK") for at in range(3)}
    files |= {"b/deep.png": image(mode="I;16"), "b/clear.png": image(mode="RGBA"), "b/gray.png": image(mode="L")}
    images = read(zip_of(tmp_path, files), tmp_path)
    assert images.conversions == {"CMYK": 3, "16-bit": 1, "RGBA": 1, "grayscale": 2}
    assert "3 of 11 images are CMYK; they are converted to RGB" in images.notes
    assert "1 of 11 images is 16-bit; it is scaled to 8 bits" in images.notes
    assert images.channels == 3


def test_facts_are_those_of_the_pixels(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 200, (60, 9, 7, 3), np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(60) % 4)
    images = read(tmp_path / "data.npz", tmp_path)
    assert images.mean == pytest.approx(x.mean((0, 1, 2)), abs=0.001)
    assert images.std == pytest.approx(x.reshape(-1, 3).std(0), abs=0.001)
    assert images.sides == (9, 9, 7, 7)
    assert images.per_class == (15,) * 4
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    assert index == [[row, row % 4, "all"] for row in range(60)]


def test_thumbnails_are_spread_over_the_classes(tmp_path: Path) -> None:
    files = {f"{name}/{at}.png": image() for name in "abcd" for at in range(20)}
    read(zip_of(tmp_path, files), tmp_path)
    with np.load(tmp_path / THUMBNAILS_FILE) as thumbnails:
        assert thumbnails["pixels"].shape == (60, 96, 96, 3)
        assert np.bincount(thumbnails["labels"]).tolist() == [15] * 4


def test_a_split_of_the_data_is_kept_and_a_validation_set_judges_where_there_is_no_other(tmp_path: Path) -> None:
    files = {f"d/{top}/{name}/1.png": image() for top in ("train", "val") for name in "ab"}
    assert read(zip_of(tmp_path, files), tmp_path).counts == {"train": 2, "test": 2}
    assert read(zip_of(tmp_path, files | {"d/test/a/1.png": image()}), tmp_path).counts == {
        "train": 2, "calibrate": 2, "test": 1,
    }  # fmt: skip
    only = {name: content for name, content in files.items() if "/train/" in name}
    alone = read(zip_of(tmp_path, only), tmp_path)
    assert (alone.counts, alone.classes) == ({"all": 2}, ("a", "b"))


@pytest.mark.parametrize(("broken", "taken"), [(1, True), (2, False)])
def test_a_broken_image_is_skipped_and_listed_and_over_five_per_cent_stop(
    broken: int, taken: bool, tmp_path: Path
) -> None:
    files = {f"{'ab'[at % 2]}/{at}.png": image() if at >= broken else image()[:80] for at in range(20)}
    file = zip_of(tmp_path, files)
    if not taken:
        with pytest.raises(Refused, match="2 of 20 images cannot be read"):
            read(file, tmp_path)
        return
    images = read(file, tmp_path)
    assert (images.images, images.skipped_count, images.skipped[0].name) == (19, 1, "a/0.png")
    assert "broken" in images.skipped[0].reason


def test_what_people_read_of_labels(tmp_path: Path) -> None:
    one = read(zip_of(tmp_path, {"cat/1.png": image(), "cat/2.png": image()}), tmp_path)
    assert "one class only" in one.warnings[0]
    none = read(zip_of(tmp_path, {"1.png": image(), "2.png": image()}), tmp_path)
    assert (none.form, none.classes) == ("plain", ())
    assert "agreement" in none.warnings[0]
    assert "cats/1.jpg" in none.warnings[0]
    table = {f"images/{at}.png": image() for at in range(3)} | {"labels.csv": b"label,path\n2,0.png\n10,1.png\n1,2.png"}
    assert read(zip_of(tmp_path, table), tmp_path).classes == ("1", "2", "10")


def test_whatever_bytes_are_changed_the_file_is_taken_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    mixed = {"a/1.png": image(), "a/2.gif": image("GIF", "P"), "b/3.jpg": image("JPEG"), "b/4.tif": image("TIFF")}
    mixed |= {"b/5.webp": image("WEBP"), "b/6.bmp": image("BMP"), "labels.csv": b"path,label\na/1.png,3\n"}
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 5, 6), np.uint8), y=np.arange(4))
    outcomes = {True: 0, False: 0}
    for file in (zip_of(tmp_path, mixed), tmp_path / "data.npz"):
        honest = np.frombuffer(file.read_bytes(), np.uint8)
        for _ in range(80):
            changed = honest.copy()
            changed[random.integers(0, len(honest), random.integers(1, 6))] = random.integers(0, 256)
            (tmp_path / "changed").write_bytes(changed.tobytes())
            try:
                read(tmp_path / "changed", tmp_path)
            except Refused:
                outcomes[False] += 1
            else:
                outcomes[True] += 1
    assert min(outcomes.values()) > 0
