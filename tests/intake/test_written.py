"""What a parser that was taken over could leave behind instead of what it says; none of it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.errors import Refused
from core.progress import Steps, result_of
from experiments.bringing import keep_checked
from intake import sandbox, shelf
from intake.index import INDEX_FILE
from intake.items import TFLITE_FILE, THUMBNAILS_FILE, ImageSet, TfliteFile
from intake.parsing import data, tflite
from intake.written import check_written
from tests.experiments.brought import image_zip
from tests.hostile.tflites import packed, plain, read, shrunk, taken


@pytest.fixture
def brought(tmp_path: Path) -> tuple[Path, ImageSet]:
    """The folder with what the parser wrote of an honest set of three classes, and its facts."""
    folder = tmp_path / "draft"
    folder.mkdir()
    return folder, ImageSet.model_validate(result_of(data.parse(image_zip(tmp_path, each=2), folder, {})))


def thumbnails(**changes: Any) -> Callable[[Path], None]:
    arrays = {"pixels": np.zeros((6, 96, 96, 3), np.uint8), "labels": np.zeros(6, np.int64)} | changes
    return lambda folder: np.savez_compressed(folder / THUMBNAILS_FILE, **arrays)


def lines(*changed: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        index = json.loads((folder / INDEX_FILE).read_bytes())
        (folder / INDEX_FILE).write_text(json.dumps([*changed, *index[len(changed) :]]))

    return write


def test_what_an_honest_parser_wrote_is_kept(brought: tuple[Path, ImageSet]) -> None:
    check_written(*brought)


@pytest.mark.parametrize(
    "spoil",
    [
        thumbnails(pixels=np.zeros((2000, 96, 96, 3), np.uint8)),
        thumbnails(pixels=np.zeros((6, 2000, 2000, 3), np.uint8)),
        thumbnails(pixels=np.zeros((6, 96, 96, 7), np.uint8)),
        thumbnails(pixels=np.zeros((6, 96, 96, 3))),
        thumbnails(labels=np.zeros(5, np.int64)),
        thumbnails(more=np.zeros(5)),
        lambda folder: (folder / THUMBNAILS_FILE).write_bytes(b"PK"),
        lambda folder: (folder / THUMBNAILS_FILE).unlink(),
        lambda folder: (folder / THUMBNAILS_FILE).write_bytes(bytes(5 * 2**20)),
        lambda folder: (folder / INDEX_FILE).write_text("[" * 100_000),
        lambda folder: (folder / INDEX_FILE).write_text("{}"),
        lambda folder: (folder / "item.json").write_text("{}"),
        lines(["0-red/0.png", 99, "all"]),
        lines(["0-red/0.png", "0", "all"]),
        lines(["0-red/0.png", 0, "elsewhere"]),
        lines(["0-red/0.png", 1, "all"]),
        lines("0-red/0.png"),
    ],
)
def test_anything_else_is_not(brought: tuple[Path, ImageSet], spoil: Callable[[Path], None]) -> None:
    folder, facts = brought
    spoil(folder)
    with pytest.raises(Refused, match="makes no sense"):
        check_written(folder, facts)


@pytest.mark.parametrize(
    "changes",
    [
        {"per_class": (6,)},
        {"per_class": (2, 2, 3)},
        {"per_class": (8, -1, -1)},
        {"counts": {"all": 10**9}},
        {"counts": {"elsewhere": 6}},
        {"classes": ("x" * 10_000, "b", "c")},
        {"sides": (0, 1, 1, 1)},
        {"mean": (float("nan"),) * 3},
        {"channels": 2},
        {"notes": ("x" * 10_000,)},
    ],
)
def test_facts_that_do_not_agree_are_no_facts(brought: tuple[Path, ImageSet], changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImageSet.model_validate(brought[1].model_dump() | changes)


def test_a_parser_that_lies_leaves_nothing_on_the_shelf(
    tmp_path: Path, brought: tuple[Path, ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    folder, facts = brought

    def told(found: dict[str, Any]) -> None:
        def parse(*_: object) -> Steps[dict[str, Any]]:
            yield from ()
            return found

        monkeypatch.setattr(sandbox, "parse", parse)

    honest = facts.model_dump(mode="json")
    for wanted, found in (("data", honest | {"per_class": [1]}), ("data", {"kind": "none"}), ("model", honest)):
        told(found)
        with pytest.raises(Refused, match="makes no sense"):
            result_of(keep_checked("", wanted, tmp_path / "images.zip", folder))
    assert shelf.items("") == {}
    told(honest)
    key = result_of(keep_checked("", "data", tmp_path / "images.zip", folder))
    assert shelf.items("").keys() == {key}


@pytest.fixture
def brought_tflite(tmp_path: Path) -> tuple[Path, TfliteFile]:
    folder = tmp_path / "network"
    folder.mkdir()
    found = result_of(tflite.parse(plain(tmp_path, taken("plain")), folder, {}))
    return folder, TfliteFile.model_validate(found)


def test_an_honest_tflite_is_kept(brought_tflite: tuple[Path, TfliteFile]) -> None:
    check_written(*brought_tflite)


@pytest.mark.parametrize(
    "changes",
    [{"classes": 4}, {"height": 9}, {"dtype": "uint8"}, {"layout": "NCHW"}, {"quantized": True}, {"operators": {}}],
)
def test_a_tflite_of_other_facts_is_not(brought_tflite: tuple[Path, TfliteFile], changes: dict[str, Any]) -> None:
    folder, facts = brought_tflite
    with pytest.raises(Refused, match="makes no sense"):
        check_written(folder, facts.model_copy(update=changes))


@pytest.mark.parametrize("spoil", ["reads beyond", "cut", "long"])
def test_a_tflite_that_reads_beyond_its_tensors_is_not(brought_tflite: tuple[Path, TfliteFile], spoil: str) -> None:
    folder, facts = brought_tflite
    content = (folder / TFLITE_FILE).read_bytes()
    if spoil == "reads beyond":
        model = read(content)
        shrunk(model, begins=50)
        facts = facts.model_copy(update={"operators": {"STRIDED_SLICE": 1, **facts.operators}})
        content = packed(model)
    (folder / TFLITE_FILE).write_bytes({"cut": content[:500], "long": content + bytes(3 * 2**20)}.get(spoil, content))
    with pytest.raises(Refused, match="makes no sense"):
        check_written(folder, facts)
