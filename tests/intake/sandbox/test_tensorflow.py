"""The Python of another environment is confined like our own, under each mechanism."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from bridges.environments import TENSORFLOW
from core.errors import Refused, Unavailable
from core.progress import result_of
from intake import sandbox
from intake.sandbox import launching
from intake.sandbox.running import run
from intake.sandbox.task import ROOT, interpreter_of, own_interpreter
from tests.intake.sandbox.conftest import Tasks

installed = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))


@installed
def test_every_way_out_is_closed(mechanism: str, tasks: Tasks, upload: Path, tmp_path: Path) -> None:
    elsewhere, scratch = tmp_path / "elsewhere", tmp_path / "scratch"
    scratch.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = tasks(
            "ways_out",
            secret=str(upload.with_name("secret")),
            elsewhere=str(elsewhere),
            code=str(ROOT / "experiments" / "store.py"),
            port=listener.getsockname()[1],
            parent=os.getpid(),
        ).model_copy(update={"python": interpreter_of(TENSORFLOW.python), "scratch": scratch})
        started = launching.start(task)
        started.child.end()
        assert len(started.hello.attempts) == 11
        assert started.hello.holds
        errors = result_of(run(task))
    assert len(errors) > 15
    for way, error in errors.items():
        assert error in ("EPERM", "EACCES", "ENOENT", "EROFS", "EXDEV", "not allowed to raise maximum limit"), way
    assert not elsewhere.exists()


@installed
def test_it_finds_its_own_libraries_and_not_ours() -> None:
    found = interpreter_of(TENSORFLOW.python)
    assert (found.packages[0] / "tensorflow").is_dir()
    assert not set(found.packages) & set(own_interpreter().packages)
    assert interpreter_of(Path(sys.executable)).executable == own_interpreter().executable


def test_the_second_folder_can_be_written_to_and_counts(confined: None, tasks: Tasks, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "variables").mkdir(parents=True)
    task = tasks("beside", into=str(scratch / "variables")).model_copy(update={"scratch": scratch})
    assert result_of(run(task)) == {"temporary": str(scratch), "folder": "EPERM", "deleted": "EPERM"}
    assert (scratch / "variables" / "written").read_text() == "content"
    with pytest.raises(Refused, match="takes more than 0 MiB on disk"):
        result_of(run(task.model_copy(update={"parser": "tests.intake.sandbox.evil:hang", "out_bytes": 1})))


def test_without_the_environment_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TENSORFLOW), "is_installed", property(lambda _self: False))
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(Unavailable, match="TensorFlow is not installed"):
        result_of(sandbox.parse("keras", tmp_path / "file", tmp_path / "out"))
