"""Real families of processes, ended and asked whether they live."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from core import processes
from core.processes import is_alive, kill_family

GRANDPARENT = """
import pathlib, subprocess, sys, time
middle = "import subprocess, sys, time, pathlib;" \\
    "last = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);" \\
    "pathlib.Path(sys.argv[1]).write_text(str(last.pid)); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", middle, sys.argv[1]])
time.sleep(60)
"""


def family(folder: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A process, its child and its grandchild, all of them at work."""
    noted = folder / "last"
    first = subprocess.Popen([sys.executable, "-c", GRANDPARENT, str(noted)], start_new_session=True)
    give_up = time.monotonic() + 20
    while not noted.exists() or not noted.read_text():
        assert time.monotonic() < give_up
        time.sleep(0.01)
    members = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    assert len(members) == 3
    assert int(noted.read_text()) in {each.pid for each in members}
    return first, members


def test_when_it_returns_the_whole_family_has_ended_and_the_exit_code_is_still_there(tmp_path: Path) -> None:
    first, members = family(tmp_path)
    starts = [(each.pid, each.create_time()) for each in members]
    assert all(is_alive(*start) for start in starts)
    kill_family(first.pid)
    assert not any(is_alive(*start) for start in starts)
    assert first.wait(timeout=10) == -signal.SIGKILL
    kill_family(first.pid)  # nothing happens


def test_it_waits_for_one_that_dies_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, members = family(tmp_path)
    real = psutil.Process.kill

    def slowly(process: psutil.Process) -> None:
        threading.Timer(0.3, real, [process]).start()

    monkeypatch.setattr(psutil.Process, "kill", slowly)
    kill_family(first.pid)
    assert not any(map(processes._lives, members))
    first.wait(timeout=10)


def test_it_gives_up_on_one_that_does_not_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, members = family(tmp_path)
    real = psutil.Process.kill
    monkeypatch.setattr(psutil.Process, "kill", lambda process: None)
    monkeypatch.setattr(processes, "SECONDS_TO_DIE", 0.05)
    kill_family(first.pid)
    for each in members:
        real(each)
    first.wait(timeout=10)


def test_another_process_with_the_same_number_is_not_the_one_that_was_noted() -> None:
    me = psutil.Process()
    assert is_alive(me.pid, me.create_time())
    assert not is_alive(me.pid, me.create_time() - 60)
