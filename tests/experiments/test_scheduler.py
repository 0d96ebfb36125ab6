from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from core.folders import run_folder
from experiments.duel import Duel
from experiments.recipe import Recipe
from experiments.scheduler import TICK_SECONDS, Scheduler
from experiments.store import Store
from tests.pages.left_behind import measured

RECIPE = Recipe(model="resnet_fmnist")
SLEEPER = (sys.executable, "-c", "import sys, time; sys.stdin.readline() and time.sleep(600)")
"""A worker that takes a run and never ends it."""


def wait_for(condition: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + 60
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def scheduler(store: Store) -> Iterator[Scheduler]:
    running = Scheduler(store, worker=SLEEPER)
    running.start()
    yield running
    running.stop()
    for record in store.runs(states=("running",)):
        with suppress(ProcessLookupError):
            os.killpg(record.pid, signal.SIGKILL)


def started(store: Store, run_id: str) -> bool:
    return wait_for(lambda: store.run(run_id).state == "running")


def test_one_run_a_device_and_the_next_when_it_ends(store: Store, scheduler: Scheduler) -> None:
    first, second = store.enqueue(RECIPE), store.enqueue(RECIPE)
    assert started(store, first)
    time.sleep(1)
    assert store.run(second).state == "queued"
    store.request_cancel(first)
    assert started(store, second)


def test_the_next_look_after_a_cancellation_ends_the_run_and_its_process(store: Store) -> None:
    assert 5 * TICK_SECONDS <= 1, "looks follow each other so fast that nobody waits long for it"
    run_id = store.enqueue(RECIPE)
    scheduler = Scheduler(store, worker=SLEEPER)
    scheduler.tick()
    pid = store.run(run_id).pid
    assert psutil.pid_exists(pid)
    store.request_cancel(run_id)
    scheduler.tick()
    assert store.run(run_id).state == "cancelled"
    assert not psutil.pid_exists(pid)
    scheduler.start()
    scheduler.stop()


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "killed"), (signal.SIGSEGV, "SIGSEGV")])
def test_a_killed_worker_ends_its_run_with_a_sentence(
    store: Store, scheduler: Scheduler, number: signal.Signals, words: str
) -> None:
    run_id = store.enqueue(RECIPE)
    assert started(store, run_id)
    (run_folder(run_id) / "worker.log").write_text("last words")
    os.kill(store.run(run_id).pid, number)
    assert wait_for(lambda: store.run(run_id).state == "failed")
    assert words in store.run(run_id).error
    assert store.run(run_id).details == "last words"


def test_a_restarted_server_adopts_a_living_run_and_buries_a_dead_one(store: Store) -> None:
    worker = subprocess.Popen(SLEEPER, stdin=subprocess.PIPE, start_new_session=True)
    run_id = store.enqueue(RECIPE)
    store.claim(run_id, worker.pid)
    restarted = Scheduler(store, worker=SLEEPER)
    restarted.tick()
    assert store.run(run_id).state == "running"
    worker.kill()  # and stays a zombie, as nobody waits for it
    assert wait_for(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE)
    restarted.tick()
    assert store.run(run_id).state == "failed"
    assert "gone" in store.run(run_id).error
    restarted._thread.start()
    restarted.stop()
    worker.wait()


def test_runs_survive_a_killed_server(store: Store) -> None:
    """Killed once the worker has its run: what is claimed and not yet handed over would be lost, and said to be."""
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], env=os.environ | {"PYTHONPATH": os.getcwd()}, start_new_session=True
    )
    run_id = store.enqueue(RECIPE)
    assert wait_for((run_folder(run_id) / "begun").exists)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    (run_folder(run_id) / "go-on").touch()
    assert wait_for(lambda: store.run(run_id).state == "finished")


_FINISHER = """
import sys, time
run_id = sys.stdin.readline().strip()
from core.folders import run_folder
from experiments.store import open_store
if run_id:
    (run_folder(run_id) / "begun").touch()
    while not (run_folder(run_id) / "go-on").exists():
        time.sleep(0.02)
    from tests.pages.left_behind import measured
    store = open_store()
    store.finish(run_id, measured(store.run(run_id).recipe, wrong=1, p50_ms=1.0, size_bytes=1000))
"""
_SERVER = f"""
import sys, time
from experiments.scheduler import TICK_SECONDS, Scheduler
from experiments.store import open_store
Scheduler(open_store(), worker=(sys.executable, "-c", {_FINISHER!r})).start()
time.sleep(600)
"""


def test_the_spare_worker_ends_with_its_server(store: Store) -> None:
    server = subprocess.Popen([sys.executable, "-c", _SERVER], env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert wait_for(lambda: len(psutil.Process(server.pid).children()) == 1)
    (spare,) = psutil.Process(server.pid).children()
    server.kill()
    server.wait()
    assert wait_for(lambda: not spare.is_running() or spare.status() == psutil.STATUS_ZOMBIE)


def test_no_spare_worker_is_made_while_a_duel_runs(store: Store) -> None:
    ids = []
    for _ in range(2):
        ids.append(store.begin_here(RECIPE))
        store.finish(ids[-1], measured(RECIPE, wrong=1, p50_ms=1.0, size_bytes=1000))
    duel = store.enqueue_duel(Duel(first=ids[0], second=ids[1]))
    scheduler = Scheduler(store, worker=SLEEPER)
    scheduler.tick()
    assert store.run(duel).state == "running"
    scheduler.tick()
    assert scheduler._spare is None
    store.request_cancel(duel)
    scheduler.tick()
    scheduler.tick()
    assert scheduler._spare is not None
    scheduler._thread.start()
    scheduler.stop()


def test_a_stop_waits_neither_for_a_spare_worker_that_imports_nor_for_a_store_that_hangs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.scheduler.STOP_SECONDS", 60)
    importing = (sys.executable, "-c", "import time; time.sleep(600)")
    busy, stuck = (Scheduler(store, worker=importing) for _ in range(2))
    hangs, goes_on = threading.Event(), threading.Event()
    for scheduler in (busy, stuck):
        scheduler.start()
        assert wait_for(lambda scheduler=scheduler: scheduler._spare is not None)
    monkeypatch.setattr(stuck, "tick", lambda: (hangs.set(), goes_on.wait(120)))
    assert hangs.wait(60)
    busy.stop()
    monkeypatch.setattr("experiments.scheduler.STOP_SECONDS", 0.1)
    stuck.stop()
    assert stuck._thread.is_alive()
    monkeypatch.setattr("experiments.scheduler.STOP_SECONDS", 60)
    assert busy._spare.poll() is not None
    assert stuck._spare.poll() is None  # it may be about to be given a run
    goes_on.set()
    stuck._thread.join()
    stuck.stop()
    assert stuck._spare.poll() is not None
