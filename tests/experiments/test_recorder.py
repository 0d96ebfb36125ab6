from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from filelock import Timeout

from core.progress import Event, PhaseStarted, Telemetry
from experiments import recorder as recording
from experiments.recipe import Recipe
from experiments.recorder import Recorder, sampler_lock
from experiments.run_record import AtWork
from experiments.store import Store
from profiling.telemetry import MachineSample, MachineSampler
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


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def look_again(recorder: Recorder, times: int) -> None:
    """Wait until that many whole looks at the machine were over; the first may have begun before."""
    seen = recorder.samples()[-1].at
    until(lambda: len(recorder.samples(after=seen)) > times + 1)


class Machine:
    """One that is looked at every second, however fast the looks follow each other."""

    def __init__(self, machine: MachineSampler) -> None:
        self._machine, self._at = machine, 1000.0

    def sample(self) -> MachineSample:
        self._at += 1
        return replace(self._machine.sample(), at=self._at)


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
        look_again(recorder, 1)
        count = len(telemetry(store, run_id))
        look_again(recorder, 5)
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
            until(lambda: second.is_another_sampling)
            assert not second.is_sampling
            assert second.samples() == []
            with pytest.raises(Timeout):
                sampler_lock(first._host).acquire(blocking=False)
            first.__exit__(None, None, None)
            until(lambda: second.is_sampling)
            until(lambda: bool(second.samples()))
        assert not first.is_sampling
    sampler_lock(first._host).acquire(timeout=60)


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


@pytest.mark.parametrize("is_zombie", [False, True])
def test_a_timed_run_whose_process_is_gone_stops_nobody(store: Store, *, is_zombie: bool) -> None:
    dead, ours = store.enqueue(STUDENT), store.begin_here(STUDENT)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        store.claim(dead, process.pid)
        begin_timing(store, dead, timed=True)
        with at_work(store) as recorder:
            until(lambda: recorder.is_resting)
            process.kill()
            if is_zombie:
                until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
            else:
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
    monkeypatch.setattr(recording, "KEPT_SECONDS", 3)
    recorder = Recorder(store)
    with MachineSampler() as sampler:
        machine = Machine(sampler)
        for _ in range(8):
            recorder.tick(machine)
    assert [each.at for each in recorder.samples()] == [1005, 1006, 1007, 1008]
    assert [each.at for each in recorder.samples(after=1007)] == [1008]


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


class Refusals:
    """A store that takes no telemetry while `are_on`, as one whose file somebody else has locked."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.are_on, self.count, self._append = False, 0, store.append
        patch.setattr(store, "append", self._append_unless_refused)

    def _append_unless_refused(self, run_id: str, events: list[Event]) -> None:
        if self.are_on and any(isinstance(event, Telemetry) for event in events):
            self.count += 1
            raise sa.exc.OperationalError("INSERT", {}, Exception("database is locked"))
        self._append(run_id, events)


def test_telemetry_that_cannot_be_written_stops_nothing_and_is_written_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(store, monkeypatch)
    with at_work(store) as recorder:
        run_id = store.begin_here(STUDENT)
        until(lambda: bool(telemetry(store, run_id)))
        refusals.are_on = True
        until(lambda: refusals.count > 3)
        recorder.pause()
        began_at, told = recorder.samples()[0].at, len(telemetry(store, run_id))
        recorder.resume()
        refusals.are_on = False
        until(lambda: len(telemetry(store, run_id)) > told + 3)
        recorder.pause()
    told_at = [each.at for each in telemetry(store, run_id)]
    assert told_at == [each.at for each in recorder.samples() if each.at >= told_at[0]]
    assert began_at <= told_at[0]


def test_pausing_raises_nothing_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 60.0)
    refusals = Refusals(store, monkeypatch)
    with at_work(store) as recorder:
        run_id = store.begin_here(STUDENT)
        until(lambda: bool(telemetry(store, run_id)))
        until(lambda: recorder.samples()[-1].at > telemetry(store, run_id)[-1].at)
        refusals.are_on = True
        recorder.pause()
        assert refusals.count == 1
        refusals.are_on = False
    assert telemetry(store, run_id)[-1].at == recorder.samples()[-1].at


def test_what_waits_for_a_store_is_bounded_and_keeps_its_reasons(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "KEPT_SECONDS", 3)
    monkeypatch.setattr(recording, "PERIOD_SECONDS", 0)
    refusals = Refusals(store, monkeypatch)
    refusals.are_on = True
    recorder, run_id = Recorder(store), store.begin_here(STUDENT)
    with MachineSampler() as sampler:
        machine = Machine(sampler)
        for _ in range(8):
            recorder.tick(machine)
    kept = recorder._runs[run_id].waiting
    assert refusals.count
    assert [each.at for each in kept] == [1005, 1006, 1007, 1008]
    assert [each.reasons for each in kept] == [{}] + [None] * 3


def test_the_last_samples_of_a_run_are_written_but_not_while_another_is_timed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 60.0)
    with at_work(store) as recorder:
        timed, ended = store.begin_here(STUDENT), store.begin_here(STUDENT)
        until(lambda: bool(telemetry(store, ended)))
        first = telemetry(store, ended)[-1].at
        until(lambda: len(recorder.samples(after=first)) > 3)
        begin_timing(store, timed, timed=True)
        until(lambda: recorder.is_resting)
        taken = [each.at for each in recorder.samples(after=first)]
        store.fail(ended, "ended")
        time.sleep(5 * PERIOD)
        assert telemetry(store, ended)[-1].at == first
        begin_timing(store, timed, timed=False)
        until(lambda: telemetry(store, ended)[-1].at > first)
    assert [each.at for each in telemetry(store, ended) if each.at > first] == taken


class SlowToOpen(MachineSampler):
    """A machine whose GPUs take their time to be listed."""

    opening = threading.Event()
    opened: list[float]

    def __enter__(self) -> MachineSampler:
        self.opening.set()
        time.sleep(0.2)
        self.opened.append(time.monotonic())
        return super().__enter__()


def test_the_machine_is_opened_neither_after_a_pause_nor_while_something_is_timed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MachineSampler", SlowToOpen)
    SlowToOpen.opened = []
    run_id = store.begin_here(STUDENT)
    begin_timing(store, run_id, timed=True)
    with at_work(store) as recorder:
        until(lambda: recorder.is_resting)
        time.sleep(5 * PERIOD)
        assert not SlowToOpen.opening.is_set()
        begin_timing(store, run_id, timed=False)
        assert SlowToOpen.opening.wait(60)
        recorder.pause()
        paused_at = time.monotonic()
        assert len(SlowToOpen.opened) == 1
        time.sleep(5 * PERIOD)
    assert SlowToOpen.opened[0] < paused_at


def test_a_store_that_did_not_answer_once_leaves_a_gap_of_a_second(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed_at: list[float] = []

    def fail() -> list[AtWork]:
        monkeypatch.setattr(store, "at_work", answer)
        failed_at.append(time.time())
        raise sa.exc.OperationalError("SELECT", {}, Exception("database is locked"))

    answer = store.at_work
    with at_work(store) as recorder:
        until(lambda: bool(recorder.samples()))
        monkeypatch.setattr(store, "at_work", fail)
        until(lambda: bool(failed_at and recorder.samples(after=failed_at[0])))
        again_at = recorder.samples(after=failed_at[0])[0].at
    assert again_at - failed_at[0] > 0.9 * recording.RECOVERY_SECONDS


def test_an_end_does_not_wait_for_a_store_that_hangs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "STOP_SECONDS", 0.2)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_run_id: str, _events: list[Event]) -> None:
        hangs.set()
        goes_on.wait(120)

    run_id = store.begin_here(STUDENT)
    monkeypatch.setattr(store, "append", hang)
    with at_work(store) as recorder:
        assert hangs.wait(60), run_id
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 60
    goes_on.set()
    recorder._thread.join(60)
    assert not recorder._thread.is_alive()


def test_each_store_has_its_own_sampler_whatever_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(folder: str, url: str | None) -> str:
        monkeypatch.setenv("STUDIO_DATA", str(tmp_path / folder))
        monkeypatch.setenv("STUDIO_STORE_URL", url or "")
        return sampler_lock("here").lock_file

    common = f"sqlite:///{tmp_path / 'common.db'}"
    assert locked("one", None) != locked("two", None)
    assert locked("one", common) == locked("two", common)
    assert locked("one", None) != locked("one", common)
    assert locked("one", "postgresql://a@db/x") != locked("one", "postgresql://a@db/y")
    assert locked("one", None) == locked("one", f"sqlite:///{tmp_path / 'one' / 'studio.db'}")


def test_a_run_is_told_of_the_gpu_that_its_own_process_sees(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = [FakeGpu(used_bytes=GIB), FakeGpu(used_bytes=2 * GIB)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the recorder's own says nothing of others
    command = [sys.executable, "-c", "input()"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        run_id = store.enqueue(STUDENT.model_copy(update={"device": "cuda:0"}))
        store.claim(run_id, process.pid)
        with installed(FakeLibrary(gpus)), at_work(store):
            until(lambda: bool(telemetry(store, run_id)))
        process.kill()
    assert telemetry(store, run_id)[0].gpu_used_bytes == 2 * GIB
