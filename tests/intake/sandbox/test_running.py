"""Parsers that break out, crash, hang, take everything or lie: what becomes of them, under each mechanism."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from core.errors import Refused
from core.progress import Event, Note, Progress, Steps, result_of
from intake.sandbox.running import run
from intake.sandbox.task import ROOT
from tests.intake.sandbox.conftest import Tasks


def events_of(steps: Steps[dict[str, object]]) -> tuple[list[Event], dict[str, object]]:
    events: list[Event] = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return events, stop.value


def refusal(steps: Steps[dict[str, object]]) -> Refused:
    with pytest.raises(Refused) as caught:
        result_of(steps)
    return caught.value


def test_an_honest_parser_reads_reports_and_writes(
    mechanism: str, tasks: Tasks, upload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_STORE_URL", "postgresql://user:password@host/db")
    task = tasks("honest", side=32)
    events, result = events_of(run(task))
    assert [type(event) for event in events] == [Note, Progress]
    assert result["sums"] == [2500.0]
    assert result["options"] == {"side": 32}
    assert (task.out / "written").read_bytes() == upload.read_bytes()
    assert not [name for name in result["environment"] if name.startswith("STUDIO")]


def test_every_way_out_is_closed(mechanism: str, tasks: Tasks, upload: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = tasks(
            "ways_out",
            secret=str(upload.with_name("secret")),
            elsewhere=str(elsewhere),
            code=str(ROOT / "experiments" / "store.py"),
            port=listener.getsockname()[1],
            parent=os.getpid(),
        )
        errors = result_of(run(task))
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert len(errors) > 15
    for way, error in errors.items():
        assert error in ("EPERM", "EACCES", "ENOENT", "EROFS", "EXDEV", "not allowed to raise maximum limit"), way
    if mechanism == "bubblewrap":
        assert errors["read a file beside the upload"] == "ENOENT"
    assert not elsewhere.exists()
    assert upload.read_bytes() == b"content"
    assert upload.with_name("secret").exists()


def test_libraries_that_compute_with_threads_work(mechanism: str, tasks: Tasks, tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], np.full(64 * 64, 0.5, np.float32))
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", shape[:1], shape[1:], [weight])
    file = tmp_path / "model.onnx"
    file.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    task = tasks("engine", file).model_copy(update={"memory_bytes": 2**31})
    assert result_of(run(task)) == {"total": 64 * 64 * 0.5}


def test_a_crash_is_told_by_its_signal_and_leaves_nothing(mechanism: str, tasks: Tasks) -> None:
    assert "crashed the parser (signal 11, SIGSEGV)" in str(refusal(run(tasks("crash"))))


def test_the_parsers_own_refusal_arrives_whole_and_leaves_nothing(confined: None, tasks: Tasks) -> None:
    task = tasks("refuse")
    error = refusal(run(task))
    assert str(error) == "it is a program; expected weights. Save it again."
    assert error.snippet == "torch.save(...)"
    assert list(task.out.iterdir()) == []


@pytest.mark.parametrize(
    ("parser", "words"),
    [
        ("devour", "needs more than 0.25 GiB of memory"),
        ("fill", "takes more than 16 MiB on disk"),
        ("one_large_file", "takes more than 16 MiB on disk"),
        ("stumble", "failed in an unforeseen way (ZeroDivisionError)"),
        ("leave", "ended the parser (exit status 3)"),
        ("folders", "failed in an unforeseen way (PermissionError)"),
        ("delete", "failed in an unforeseen way (PermissionError)"),
        ("set_aside", "takes more than 16 MiB on disk"),
    ],
)
def test_whatever_goes_wrong_has_its_sentence(confined: None, tasks: Tasks, parser: str, words: str) -> None:
    task = tasks(parser)
    assert words in str(refusal(run(task)))
    assert list(task.out.iterdir()) == []


def test_a_disk_that_runs_full_ends_it(confined: None, tasks: Tasks) -> None:
    task = tasks("hang").model_copy(update={"kept_free_bytes": 2**62})
    assert "The disk has no room" in str(refusal(run(task)))


@pytest.mark.parametrize("line", ["endless line", "deep", "list", "unknown", "two", "wordless refusal", "flood"])
def test_what_a_parser_may_not_say_is_not_believed(confined: None, tasks: Tasks, line: str) -> None:
    assert "an answer that makes no sense" in str(refusal(run(tasks("forge", line=line))))


def test_events_that_no_parser_reports_are_dropped(confined: None, tasks: Tasks) -> None:
    assert events_of(run(tasks("forge", line="unasked"))) == ([], {"then": "the result"})


def test_a_time_limit_ends_it(confined: None, tasks: Tasks) -> None:
    error = refusal(run(tasks("hang").model_copy(update={"seconds": 0.3})))
    assert "took longer than 0.3 s" in str(error)


def test_closing_the_generator_kills_it(mechanism: str, tasks: Tasks) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    steps = run(tasks("hang"))
    assert isinstance(next(steps), Note)
    started = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert started
    steps.close()
    give_up = time.monotonic() + 60
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in started):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_it_prints_is_bounded(confined: None, tasks: Tasks, capfd: pytest.CaptureFixture[str]) -> None:
    assert result_of(run(tasks("babble"))) == {"done": True}
    refusal(run(tasks("stumble")))
    assert len(capfd.readouterr().err) < 100_000
