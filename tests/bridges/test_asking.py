"""Tasks for the process of another environment, however they end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridges.asking import GPU_VARIABLE, ask, variables
from bridges.environments import ROOT, Environment
from core.errors import BadInput, NothingDone, RunFailed, StudioError, Unavailable
from core.progress import Event, Metric, Note, Progress, Steps, result_of
from profiling.sweep import is_out_of_memory

TASKS = "tests.bridges.tasks"


class Here(Environment):
    """One whose Python is the one of these tests."""

    @property
    def python(self) -> Path:
        return Path(sys.executable)


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    (tmp_path / "installed-requirements-test.txt").touch()
    return Here("test", "Test library", tmp_path, "1 MB")


def events_and_error(steps: Steps[object]) -> tuple[list[Event], StudioError]:
    """What was told before it failed, and how it failed."""
    events = []
    while True:
        try:
            events.append(next(steps))
        except StudioError as error:
            return events, error


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def ends_soon(process: int) -> bool:
    end = time.monotonic() + 60
    while is_running(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_running(process)


def test_events_are_passed_on_and_the_process_waits_for_the_next_task(here: Environment) -> None:
    steps = ask(here, f"{TASKS}:count", {"to": 3})
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            first = stop.value
            break
    assert [(type(event), event.done) for event in events if isinstance(event, Progress)] == [
        (Progress, 1),
        (Progress, 2),
        (Progress, 3),
    ]
    second = result_of(ask(here, f"{TASKS}:count", {"to": 4}))
    assert (first["sum"], second["sum"]) == (6, 10)
    assert first["process"] == second["process"] != os.getpid()


def test_what_is_printed_is_no_message(here: Environment) -> None:
    assert result_of(ask(here, f"{TASKS}:chatter", {})) == {"forged": False}


@pytest.mark.parametrize(
    ("task", "kind", "sentence"),
    [
        ("refuse", BadInput, "An odd value; expected an even one. Choose another."),
        ("change_nothing", NothingDone, "Nothing to prune."),
        ("stumble", RunFailed, "The library stopped (ValueError: shapes (3,) and (4,) not aligned)."),
    ],
)
def test_what_a_task_raises_arrives_and_the_process_goes_on(
    task: str, kind: type[StudioError], sentence: str, here: Environment
) -> None:
    before = result_of(ask(here, f"{TASKS}:count", {"to": 1}))["process"]
    events, error = events_and_error(ask(here, f"{TASKS}:{task}", {}))
    assert [event.text for event in events if isinstance(event, Note)] == ["looking"]
    assert (type(error), str(error)) == (kind, sentence)
    assert result_of(ask(here, f"{TASKS}:count", {"to": 1}))["process"] == before


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("abort_in_epoch", "The process of Test library crashed inside the library (SIGABRT)"),
        (
            "be_killed_in_epoch",
            "The process of Test library was killed, most often because the machine ran out of memory",
        ),
        ("abort_without_memory", "The process of Test library ran out of memory (bad_alloc). Close other programs"),
        ("take_too_much", "The process of Test library ran out of memory (MemoryError: Unable to allocate"),
        (
            "exhaust_on_processor",
            "The process of Test library ran out of memory (RuntimeError: Operation received an exception:Status: 1",
        ),
        (
            "exhaust",
            "The process of Test library ran out of memory (ResourceExhaustedError: OOM when allocating tensor",
        ),
        ("leave", "The process of Test library crashed inside the library (code 3)"),
    ],
)
def test_a_process_that_dies_ends_the_task_with_a_sentence_and_the_next_one_has_another(
    task: str, sentence: str, here: Environment
) -> None:
    before = result_of(ask(here, f"{TASKS}:count", {"to": 1}))["process"]
    events, error = events_and_error(ask(here, f"{TASKS}:{task}", {}))
    assert len(events) == 1
    assert isinstance(error, RunFailed)
    assert str(error).startswith(sentence)
    assert error.action
    assert is_out_of_memory(error) == ("memory" in sentence)
    assert result_of(ask(here, f"{TASKS}:count", {"to": 1}))["process"] != before


def test_what_it_prints_is_passed_on(here: Environment, capfd: pytest.CaptureFixture[str]) -> None:
    events_and_error(ask(here, f"{TASKS}:abort_without_memory", {}))
    assert "what():  std::bad_alloc" in capfd.readouterr().err


def test_a_task_that_nobody_waits_for_any_more_is_ended(here: Environment) -> None:
    steps = ask(here, f"{TASKS}:go_on_forever", {})
    told = next(steps)
    assert isinstance(told, Metric)
    steps.close()
    assert ends_soon(int(told.value))
    assert result_of(ask(here, f"{TASKS}:count", {"to": 2}))["sum"] == 3


def test_it_ends_with_the_process_that_asked(here: Environment) -> None:
    code = f"""
import os, sys
from pathlib import Path
from bridges.asking import ask
from tests.bridges.test_asking import Here
steps = ask(Here("test", "Test library", Path({str(here.folder)!r}), "1 MB"), "{TASKS}:go_on_forever", {{}})
print(int(next(steps).value), flush=True)
os._exit(1)
"""
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert ends_soon(int(asked.stdout))


def test_without_the_environment_nothing_is_started(tmp_path: Path) -> None:
    absent = Environment("test-absent", "Test library", tmp_path, "1 MB")
    with pytest.raises(Unavailable, match=r"System page, or by `python3 studio.py install test-absent` \(1 MB"):
        result_of(ask(absent, f"{TASKS}:count", {"to": 1}))


def test_it_computes_on_the_cpu_unless_a_share_of_the_gpu_was_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GPU_VARIABLE, raising=False)
    assert variables()["CUDA_VISIBLE_DEVICES"] == "-1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv(GPU_VARIABLE, "4096")
    granted = variables()
    assert (granted["CUDA_VISIBLE_DEVICES"], granted["TF_FORCE_GPU_ALLOW_GROWTH"]) == ("0", "true")
