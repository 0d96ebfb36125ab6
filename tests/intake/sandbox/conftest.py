"""Tasks for parsers of the tests, under each mechanism that works here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import Unavailable
from intake.sandbox.launching import MECHANISM_VARIABLE, UNCONFINED_VARIABLE, start
from intake.sandbox.task import ROOT, SOURCES, Task

Tasks = Callable[..., Task]


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A file of a person's, beside which lies another."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "secret").write_text("of another person")
    (folder / "file").write_bytes(b"content")
    return folder / "file"


@pytest.fixture
def tasks(tmp_path: Path, upload: Path) -> Tasks:
    """Makes a task for a parser of `evil`."""
    out = tmp_path / "out"
    out.mkdir()

    def make(parser: str, file: Path = upload, **options: Any) -> Task:
        return Task(
            parser=f"tests.intake.sandbox.evil:{parser}",
            file=file,
            out=out,
            options=options,
            seconds=60,
            memory_bytes=2**28,
            out_bytes=2**24,
            sources=(*SOURCES, ROOT / "tests"),
        )

    return make


@pytest.fixture(params=["bubblewrap", "landlock"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tasks: Tasks) -> str:
    """Each mechanism in turn; one that this machine does not have is passed over."""
    force(monkeypatch, request.param, tasks)
    return str(request.param)


@pytest.fixture
def confined(monkeypatch: pytest.MonkeyPatch, tasks: Tasks) -> None:
    """Whichever mechanism this machine has."""
    force(monkeypatch, "", tasks)


_working: dict[str, str] = {}


def force(monkeypatch: pytest.MonkeyPatch, name: str, tasks: Tasks) -> None:
    """Let nothing but that mechanism be used. Skips with the reason where it does not work here."""
    monkeypatch.delenv(UNCONFINED_VARIABLE, raising=False)
    monkeypatch.setenv(MECHANISM_VARIABLE, name)
    if name not in _working:
        try:
            start(tasks("honest").model_copy(update={"parser": ""})).child.end()
            _working[name] = ""
        except Unavailable as error:
            _working[name] = str(error)
    if _working[name]:
        pytest.skip(_working[name])
