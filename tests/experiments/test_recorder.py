from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from filelock import Timeout

from core.progress import PhaseStarted, Telemetry
from experiments import recorder as recording
from experiments.recipe import Recipe
from experiments.recorder import Recorder, sampler_lock
from experiments.store import Store
from profiling.telemetry import MachineSampler
from tests.profiling.fake_nvml import GIB, FakeGpu, FakeLibrary, installed

PERIOD = 0.02
STUDENT = Recipe(model="student_dw_fmnist")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PERIOD_SECONDS", "IDLE_SECONDS", "FLUSH_SECONDS", "ELECTION_SECONDS"):
        monkeypatch.setattr(recording, name, PERIOD)


@contextmanager
def at_work(store: Store) -> Iterator[Recorder]:
    with Recorder(store, period_seconds=PERIOD) as recorder:
        until(lambda: recorder.is_sampling)
        yield recorder


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def telemetry(store: Store, run_id: str) -> list[Telemetry]:
    return [stored.event for stored in store.events(run_id, kinds=("telemetry",))]


def begin_timing(store: Store, run_id: str, *, timed: bool) -> None:
    store.append(run_id, [PhaseStarted(title="A phase", timed=timed)])


def test_a_run_is_told_of_itself_and_the_machine_and_reasons_once(store: Store) -> None:
    with at_work(store) as recorder:
        until(lambda: len(recorder.samples()) > 1)
        run_id = store.begin_here(STUDENT)
        until(lambda: len(telemetry(store, run_id)) >= 4)
        store.fail(run_id, "ended")
        time.sleep(3 * PERIOD)
        count = len(telemetry(store, run_id))
        time.sleep(5 * PERIOD)
    told = telemetry(store, run_id)
    assert len(told) == count
    assert all(each.process_rss_bytes > 20 << 20 and each.machine_total_bytes > GIB for each in told)
    assert all(each.process_threads >= threading.active_count() - 1 for each in told)
    assert [each.reasons for each in told] == [{}] + [None] * (len(told) - 1)
    assert [each.at for each in told] == sorted(each.at for each in told)


def test_a_gpu_that_disappears_changes_the_reasons_and_the_run_goes_on_being_told(store: Store) -> None:
    gpu = FakeGpu()
    with installed(FakeLibrary([gpu])), at_work(store):
        run_id = store.begin_here(STUDENT.model_copy(update={"device": "cuda:0"}))
        until(lambda: bool(telemetry(store, run_id)))
        gpu.is_lost = True
        until(lambda: telemetry(store, run_id)[-1].gpu_used_bytes is None)
    told = telemetry(store, run_id)
    assert (told[0].gpu_used_bytes, told[0].gpu_power_limit_w, told[0].reasons) == (3 * GIB, 700.0, {})
    lost = next(each for each in told if each.gpu_used_bytes is None)
    assert "gone" in lost.reasons["gpu_used_bytes"]
    assert lost.process_rss_bytes > 0


def test_one_samples_and_another_takes_over(store: Store) -> None:
    with at_work(store) as first:
        with Recorder(store, period_seconds=PERIOD) as second:
            time.sleep(5 * PERIOD)
            assert not second.is_sampling
            assert second.samples() == []
            with pytest.raises(Timeout):
                sampler_lock(first._host).acquire(blocking=False)
            first.__exit__(None, None, None)
            until(lambda: second.is_sampling)
            until(lambda: bool(second.samples()))
        assert not first.is_sampling
    sampler_lock(first._host).acquire(blocking=False)


def test_nothing_is_sampled_or_written_while_another_run_is_timed(store: Store) -> None:
    with at_work(store) as recorder:
        timed, other = store.begin_here(STUDENT), store.begin_here(STUDENT)
        until(lambda: bool(telemetry(store, other)))
        begin_timing(store, timed, timed=True)
        until(lambda: recorder.is_resting)
        before = recorder.samples()[-1].at, len(telemetry(store, other)), len(telemetry(store, timed))
        time.sleep(10 * PERIOD)
        assert before == (recorder.samples()[-1].at, len(telemetry(store, other)), len(telemetry(store, timed)))
        begin_timing(store, timed, timed=False)
        until(lambda: len(telemetry(store, other)) > before[1])
        assert not recorder.is_resting


def test_in_its_own_process_it_rests_at_once(store: Store) -> None:
    with at_work(store) as recorder:
        run_id = store.begin_here(STUDENT)
        until(lambda: bool(telemetry(store, run_id)))
        recorder.pause()
        before = len(telemetry(store, run_id)), len(recorder.samples())
        time.sleep(5 * PERIOD)
        assert before == (len(telemetry(store, run_id)), len(recorder.samples()))
        recorder.resume()
        until(lambda: len(telemetry(store, run_id)) > before[0])
        recorder.pause()


def test_a_timed_run_whose_process_is_gone_stops_nobody(store: Store) -> None:
    dead, ours = store.enqueue(STUDENT), store.begin_here(STUDENT)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        store.claim(dead, process.pid)
        begin_timing(store, dead, timed=True)
        with at_work(store) as recorder:
            until(lambda: recorder.is_resting)
            process.kill()
            process.wait()
            until(lambda: len(telemetry(store, ours)) > 1)


def test_a_run_on_another_machine_is_left_to_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        run_id = store.begin_here(STUDENT)
    begin_timing(store, run_id, timed=True)
    recorder = Recorder(store)
    with MachineSampler() as machine:
        recorder.tick(machine)
        recorder.tick(machine)
    assert len(recorder.samples()) == 2
    assert telemetry(store, run_id) == []


def test_five_minutes_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "KEPT_SECONDS", 0.1)
    recorder = Recorder(store)
    with MachineSampler() as machine:
        for _ in range(8):
            recorder.tick(machine)
            time.sleep(0.04)
    kept = recorder.samples()
    assert 2 <= len(kept) <= 4
    assert recorder.samples(after=kept[-2].at) == kept[-1:]


def test_what_is_at_work_is_told_with_its_phase(store: Store) -> None:
    queued, run_id = store.enqueue(STUDENT), store.begin_here(STUDENT)
    assert [(each.id, each.device, each.pid) for each in store.at_work()] == [(run_id, "cpu", os.getpid())]
    phases = [False, True, False]
    seen = []
    for timed in phases:
        begin_timing(store, run_id, timed=timed)
        store.append(run_id, [Telemetry(cpu_percent=number) for number in range(5)])
        seen.append((store.at_work()[0].is_timed, store.is_timing()))
    assert seen == [(timed, timed) for timed in phases]
    assert [each.event.cpu_percent for each in store.newest_events(run_id, "telemetry", limit=2)] == [3, 4]
    assert store.run(queued).state == "queued"
