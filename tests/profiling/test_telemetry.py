from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from core.progress import Telemetry
from profiling import telemetry
from profiling.telemetry import MachineSampler, ProcessSample, ProcessWatch, machine_of, telemetry_of

MIB = 1 << 20
HELD_BYTES = 64 * MIB
BUSY = f"held = bytearray({HELD_BYTES}); held[::4096] = b'x' * len(held[::4096]); print(flush=True)\nwhile 1: pass"
PARENT = f"""
import subprocess, sys
print(flush=True)
input()
subprocess.Popen([sys.executable, "-c", {BUSY!r}])
input()
"""


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_busy_process_keeps_the_machine_busy() -> None:
    with MachineSampler() as machine:
        moments = [spent()]
        process = ProcessWatch(os.getpid())
        moments.append(spent())
        work(0.2)
        moments.append(spent())
        ours, sample = process.sample(), machine.sample()
        moments.append(spent())
    (longest_s, most_s), (shortest_s, least_s) = (
        tuple(b - a for a, b in zip(*pair, strict=True)) for pair in (moments[::3], moments[1:3])
    )
    assert 100 * least_s / longest_s - 15 < ours.cpu_percent < 100 * most_s / shortest_s + 15
    assert sample.cpu_percent > 0
    family = (psutil.Process(), *psutil.Process().children(recursive=True))
    assert abs(ours.rss_bytes - sum(each.memory_info().rss for each in family)) < 64 * MIB
    assert sample.total_bytes == psutil.virtual_memory().total
    assert len(sample.core_percents) == psutil.cpu_count()
    assert all(getattr(sample, name) is None for name in sample.reasons)


def spent() -> tuple[float, float]:
    """Seconds that have passed, and seconds that this process has worked."""
    return time.perf_counter(), time.process_time()


def test_memory_is_in_use_where_it_is_not_available() -> None:
    """Others take and free some between two looks, but not between every two."""

    def difference_bytes() -> int:
        with MachineSampler() as machine:
            sample = machine.sample()
        return abs(sample.used_bytes - (sample.total_bytes - psutil.virtual_memory().available))

    assert min(difference_bytes() for _ in range(10)) < 64 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts them")
def test_the_threads_of_the_system_are_at_least_those_of_its_processes_that_can_be_seen() -> None:
    seen = sum(process.info["num_threads"] or 0 for process in psutil.process_iter(["num_threads"]))
    with MachineSampler() as machine:
        assert machine.sample().thread_count >= 0.5 * seen


def test_children_count_and_a_process_that_ended_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "SLOW_SECONDS", 0.0)
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        watch = ProcessWatch(parent.pid)
        before = watch.sample()
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        during, own = watch.sample(), ProcessWatch(parent.pid)
        give_up = time.monotonic() + 60
        while not (percent := watch.sample().cpu_percent) > 20:  # the child's alone: its parent waits
            assert time.monotonic() < give_up, percent
            time.sleep(0.2)
        child.kill()
        parent.kill()
    assert during.rss_bytes - before.rss_bytes > HELD_BYTES
    assert during.thread_count > before.thread_count
    assert own.sample() == ProcessSample()
    assert not own.is_alive
    with MachineSampler() as machine:
        said = telemetry_of(machine.sample(), own.sample(), "cpu")
    assert said.process_rss_bytes is None
    assert "ended" in said.reasons["process_rss_bytes"]


def test_what_the_system_refuses_is_missing_with_the_reason_and_the_rest_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusals = {
        "cpu_percent": IndexError("no cores"),
        "virtual_memory": PermissionError("not here"),
        "swap_memory": RuntimeError("no swap"),
        "getloadavg": OSError("no load"),
        "pids": psutil.AccessDenied(),
    }
    for refused, error in refusals.items():
        with monkeypatch.context() as patch:
            patch.setattr(psutil, refused, _raising(error))
            with MachineSampler() as machine:
                sample = machine.sample()
        missing = {
            "cpu_percent": {"cpu_percent"},
            "virtual_memory": {"used_bytes", "total_bytes"},
            "swap_memory": {"swap_used_bytes", "swap_total_bytes"},
            "getloadavg": {"load"},
            "pids": {"process_count"},
        }[refused]
        assert all(getattr(sample, name) is None for name in missing)
        assert all(type(error).__name__ in sample.reasons[name] for name in missing)
        assert len(set(sample.reasons) - missing - {"cpu_mhz", "thread_count"}) == 0
        told = telemetry_of(sample, ProcessSample(1, 1.0, 1), "cpu")
        assert set(told.reasons) == {
            f"machine_{name}" for name in missing if f"machine_{name}" in told.model_fields_set
        }
        assert machine_of(told, "cpu", "Not handed on").at == sample.at


def _raising(error: Exception) -> Callable[..., object]:
    def raising(*_: object, **__: object) -> object:
        raise error

    return raising


def test_an_unreadable_count_of_threads_is_missing_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.Path, "exists", lambda _path: True)
    monkeypatch.setattr(telemetry.Path, "read_text", _raising(PermissionError("/proc/loadavg")))
    with MachineSampler() as machine:
        sample = machine.sample()
    assert sample.thread_count is None
    assert "PermissionError" in sample.reasons["thread_count"]
    assert sample.total_bytes == psutil.virtual_memory().total


def test_a_reason_of_the_machine_is_not_taken_for_one_of_the_process() -> None:
    ended = Telemetry(machine_cpu_percent=5.0, reasons={"cpu_percent": "The run's process has ended"})
    assert "cpu_percent" not in machine_of(ended, "cpu", "Not handed on").reasons
    silent = Telemetry(reasons={"machine_cpu_percent": "Refused"})
    assert machine_of(silent, "cpu", "Not handed on").reasons["cpu_percent"] == "Refused"
