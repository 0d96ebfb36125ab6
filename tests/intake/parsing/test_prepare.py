"""Chosen images become the arrays of each split, in the order of their rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import Refused
from core.progress import result_of
from intake.items import Geometry
from intake.parsing import prepare
from intake.parsing.geometry import fitted
from tests.hostile.data import zipped

GEOMETRY = Geometry(channels=3, height=12, width=10, crop_share=0.9)
RANDOM = np.random.default_rng(0)


def prepared(file: Path, folder: Path, rows: dict[str, Any], geometry: Geometry = GEOMETRY) -> dict[str, Any]:
    """All arrays that were written."""
    out = folder / "out"
    out.mkdir()
    options = {"geometry": geometry.model_dump(mode="json"), "rows": rows}
    assert result_of(prepare.parse(file, out, options)) == {"counts": {name: len(each) for name, each in rows.items()}}
    return {path.stem: np.load(path, allow_pickle=False) for path in out.glob("*.npy")}


def test_images_of_a_zip(tmp_path: Path) -> None:
    images = {name: Image.fromarray(RANDOM.integers(0, 256, (20, 30, 3), np.uint8)) for name in "abc"}
    files = {}
    for name, image in images.items():
        content = io.BytesIO()
        image.save(content, "PNG")
        files[f"{name}.png"] = content.getvalue()
    rows = {"train": [], "calibrate": [["b.png", 4]], "test": [["c.png", -1], ["a.png", 7]]}
    arrays = prepared(zipped(files)(tmp_path), tmp_path, rows)
    assert arrays["train"].shape == (0, 3, 12, 10)
    assert np.array_equal(arrays["test"], [fitted(images[name], GEOMETRY) for name in "ca"])
    assert np.array_equal(arrays["calibrate"][0], fitted(images["b"], GEOMETRY))
    assert arrays["test-labels"].tolist() == [[-1], [7]]
    assert arrays["test-labels"].dtype == np.int64


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_arrays_of_the_networks_size_are_taken_as_they_are(layout: str, tmp_path: Path) -> None:
    x = RANDOM.integers(0, 256, (5, 3, 12, 10), np.uint8)
    np.savez(tmp_path / "data.npz", x=x if layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    arrays = prepared(tmp_path / "data.npz", tmp_path, {"test": [[4, 0], [1, 1]], "calibrate": [[0, 2]]})
    assert np.array_equal(arrays["test"], x[[4, 1]])
    assert np.array_equal(arrays["calibrate"], x[[0]])


def test_arrays_of_another_size_or_scale_are_resized(tmp_path: Path) -> None:
    x = RANDOM.integers(0, 256, (4, 20, 30), np.uint8)
    np.savez(tmp_path / "data.npz", x_train=(x / 255).astype(np.float32), x_test=(x[:2] / 255).astype(np.float32))
    arrays = prepared(tmp_path / "data.npz", tmp_path, {"train": [[2, 0]], "test": [[4, 0], [5, 1]]})
    assert np.array_equal(arrays["train"][0], fitted(Image.fromarray(x[2]), GEOMETRY))
    assert np.array_equal(arrays["test"], [fitted(Image.fromarray(x[row]), GEOMETRY) for row in (0, 1)])


def test_rows_may_lie_in_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=RANDOM.integers(0, 256, (2, 12, 10), np.uint8))
    wanted = prepare.Wanted(geometry=GEOMETRY, rows={"test": ((1, 0),)})
    (tmp_path / "wanted.json").write_text(wanted.model_dump_json())
    result_of(prepare.parse(tmp_path / "data.npz", tmp_path, {"wanted": "wanted.json"}))
    assert np.load(tmp_path / "test.npy").shape == (1, 3, 12, 10)


def test_an_image_that_is_no_longer_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"cat/2.png: not in the zip"):
        prepared(zipped({"cat/1.png": b"x"})(tmp_path), tmp_path, {"test": [["cat/2.png", 0]]})
