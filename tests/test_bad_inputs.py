"""44 bad inputs, each through the real page or function, and what a person must see of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.folders import data_folder
from experiments.store import Store
from intake.library import own_folder
from intake.sandbox import why_unavailable
from tests.bad_inputs import data, files, models, runs
from tests.bad_inputs.bench import Bench, Files, Row, files_of
from tests.pages.conftest import visit

__all__ = ["visit"]
ROWS: dict[int, Row] = dict(sorted((files.ROWS | models.ROWS | data.ROWS | runs.ROWS).items()))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of all rows."""
    if reason := why_unavailable():
        pytest.skip(reason)
    every = {case.id: case for row in ROWS.values() for case in row.files}
    return files_of(list(every.values()), tmp_path_factory.mktemp("files"))


@pytest.fixture
def bench(
    read: Files, store: Store, visit: Callable[..., AppTest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.setenv("STUDIO_MARKER", str(tmp_path / "marker"))
    return Bench(read, tmp_path, store, visit, monkeypatch)


@pytest.mark.parametrize("row", ROWS.values(), ids=[f"{number:02d}-{row.name}" for number, row in ROWS.items()])
def test_a_person_sees_what_is_wrong(row: Row, bench: Bench) -> None:
    said = row.see(bench)
    assert [words for words in row.says if words not in said] == [], said
    assert "Traceback" not in said
    assert not (bench.folder / "marker").exists()
    assert left_behind() == []


def left_behind() -> list[str]:
    """Files that were being read or written when something was refused."""
    kept = {"items", "models", "jobs", "uploads", "uploads.lock", "work.lock", "look-up.lock"}
    strange = [path.name for path in own_folder("").iterdir() if path.name not in kept]
    drafts = own_folder("").glob("jobs/*/draft")
    return [*strange, *(str(path) for path in [*drafts, *own_folder("").glob("uploads/*")])]


def test_nothing_in_any_of_the_files_ran(read: Files) -> None:
    assert read.marked == []
    assert data_folder().is_dir()


def test_there_is_a_row_for_each_of_them() -> None:
    assert list(ROWS) == list(range(1, 45))
