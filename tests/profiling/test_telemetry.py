from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from profiling import telemetry
from profiling.telemetry import MachineSampler, ProcessSample, ProcessWatch, telemetry_of

MIB = 1 << 20
HELD_BYTES = 64 * MIB
BUSY_CHILD = (
    f"held = bytearray({HELD_BYTES}); held[::4096] = b'x' * len(held[::4096]); print(flush=True)\nwhile 1: pass"
)


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_busy_process_keeps_the_machine_busy() -> None:
    with MachineSampler() as machine:
        process = ProcessWatch(os.getpid())
        before = time.process_time(), time.perf_counter()
        work(0.2)
        ours, sample = process.sample(), machine.sample()
        share = 100 * (time.process_time() - before[0]) / (time.perf_counter() - before[1])
    assert ours.cpu_percent == pytest.approx(share, abs=15)
    assert sample.cpu_percent > 0
    assert abs(ours.rss_bytes - psutil.Process().memory_info().rss) < 64 * MIB
    assert sample.total_bytes == psutil.virtual_memory().total
    assert abs(sample.used_bytes - (sample.total_bytes - psutil.virtual_memory().available)) < 512 * MIB
    assert len(sample.core_percents) == psutil.cpu_count()
    assert all(getattr(sample, name) is None for name in sample.reasons)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts them")
def test_the_threads_of_the_system_are_at_least_those_of_its_processes_that_can_be_seen() -> None:
    seen = sum(process.info["num_threads"] or 0 for process in psutil.process_iter(["num_threads"]))
    with MachineSampler() as machine:
        assert machine.sample().thread_count >= 0.5 * seen


def test_children_count_and_a_process_that_ended_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "SLOW_SECONDS", 0.0)
    watch = ProcessWatch(os.getpid())
    before = watch.sample()
    with subprocess.Popen([sys.executable, "-c", BUSY_CHILD], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        watch.sample()  # of a new child the first processor time has nothing to compare with
        time.sleep(0.2)
        during, own = watch.sample(), ProcessWatch(child.pid)
        child.kill()
    assert during.rss_bytes - before.rss_bytes > HELD_BYTES
    assert during.thread_count > before.thread_count
    assert during.cpu_percent > 20
    assert own.sample() == ProcessSample()
    assert not own.is_alive
    with MachineSampler() as machine:
        said = telemetry_of(machine.sample(), own.sample(), "cpu")
    assert said.process_rss_bytes is None
    assert "ended" in said.reasons["process_rss_bytes"]
