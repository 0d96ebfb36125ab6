"""Turns of jobs, taken by threads that hold the locks as processes would: each opens the files for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.turns import turn


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Path, threading.Event]]]:
    """Begins a job of somebody's that works until `over` is set, or the test is over."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    threads, ends = list[threading.Thread](), list[threading.Event]()

    def begun(owner: str, sort: str = "work", over: threading.Event | None = None) -> tuple[Path, threading.Event]:
        sign, works, over = tmp_path / f"sign-{time.monotonic_ns()}", threading.Event(), over or threading.Event()

        def work() -> None:
            with turn(owner, sort, sign):
                works.set()
                over.wait(280)

        threads.append(threading.Thread(target=work))
        ends.append(over)
        threads[-1].start()
        return sign, works

    yield begun
    for end in ends:
        end.set()
    for thread in threads:
        thread.join()


def waits(sign: Path) -> bool:
    give_up = time.monotonic() + 60
    while not sign.exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    return sign.exists()


def test_one_of_a_person_and_two_of_all_work_at_once(begin: Callable[..., tuple[Path, threading.Event]]) -> None:
    over = threading.Event()
    assert begin("ada", over=over)[1].wait(60)
    sign, works = begin("ada")
    assert waits(sign)
    assert not works.is_set()
    assert begin("ada", "look-up")[1].wait(60)  # another sort goes beside
    assert begin("bob")[1].wait(60)
    of_cyd, cyd = begin("cyd")
    assert waits(of_cyd)
    assert not cyd.is_set()
    over.set()
    give_up = time.monotonic() + 60
    while not (works.is_set() or cyd.is_set()) and time.monotonic() < give_up:
        time.sleep(0.01)
    assert works.is_set() != cyd.is_set()
    assert [each.exists() for each in (sign, of_cyd)] == [not works.is_set(), not cyd.is_set()]
