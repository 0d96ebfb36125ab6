from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from core.devices import Device, find_device
from profiling.surroundings import Surroundings, SurroundingsWatch

GIB = 1 << 30
GPU = Device("cuda:0", "cuda", "Test GPU", 80 * GIB, (9, 0))
OURS = SimpleNamespace(pid=os.getpid(), usedGpuMemory=GIB)


class Clock:
    """What the driver tells of the GPU's clocks, to be changed during a test."""

    def __init__(self, nvml: Any) -> None:
        self.mhz = 1980
        nvml.answers["nvmlDeviceGetClockInfo"] = lambda _gpu, kind: self.mhz if kind == pynvml.NVML_CLOCK_SM else 3201


def test_on_a_cpu_only_its_clock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=3700.0))
    with SurroundingsWatch(find_device("cpu")) as watch:
        watch.look()
        seen = watch.read()
    assert seen == Surroundings(cpu_mhz=3700.0)
    assert seen.disturbances == ()


def test_a_system_that_hides_the_cpus_clock_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda: None)
    with SurroundingsWatch(find_device("cpu")) as watch:
        assert "does not tell" in watch.read().reasons["cpu_mhz"]


def test_a_quiet_gpu_is_looked_at_before_and_after_and_by_nobody_in_between(nvml: Any) -> None:
    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = [OURS]
    threads = threading.active_count()
    with SurroundingsWatch(GPU) as watch:
        assert threading.active_count() == threads
        nvml.answers["nvmlDeviceGetTemperature"] = 61
        seen = watch.read()
    assert nvml.opened == 0
    assert (seen.sm_clocks_mhz, seen.memory_clocks_mhz) == ((1980, 1980), (3201, 3201))
    assert seen.temperatures_c == (55.0, 61.0)
    assert (seen.throttle_reasons, seen.foreign_processes) == ((), 0)
    assert seen.disturbances == ()
    assert set(seen.reasons) <= {"cpu_mhz"}
    assert Surroundings.model_validate_json(seen.model_dump_json()) == seen


def test_everything_that_disturbed_is_one_sentence(nvml: Any) -> None:
    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = [OURS, SimpleNamespace(pid=1, usedGpuMemory=GIB)]
    clock = Clock(nvml)
    with SurroundingsWatch(GPU) as watch:
        nvml.answers["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.nvmlClocksEventReasonSwPowerCap
        watch.look()
        nvml.answers["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.nvmlClocksEventReasonSwThermalSlowdown
        clock.mhz = 1200
        seen = watch.read()
    assert seen.disturbances == (
        "The GPU slowed itself down: power cap, temperature limit",
        "The GPU's clock fell from 1980 to 1200 MHz",
        "1 other process used this GPU",
    )


def test_the_most_company_at_any_look_counts(nvml: Any) -> None:
    with SurroundingsWatch(GPU) as watch:
        for others in (2, 3, 0):
            found = [SimpleNamespace(pid=pid, usedGpuMemory=GIB) for pid in range(1, others + 1)]
            nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = [OURS, *found]
            watch.look()
        assert watch.read().disturbances == ("3 other processes used this GPU",)


@pytest.mark.parametrize(
    ("clocks", "fall"),
    [
        ((300, 1980), None),
        ((1980, 1950), None),
        ((300, 1980, 1410, 1500), "from 1980 to 1410"),
        ((1980, 300, 1900), "from 1980 to 300"),
        ((), None),
        ((1980,), None),
    ],
)
def test_a_clock_that_rises_or_wavers_is_no_disturbance(clocks: tuple[int, ...], fall: str | None) -> None:
    said = Surroundings(sm_clocks_mhz=clocks).disturbances
    assert (fall in said[0]) if fall else said == ()


def test_what_the_driver_keeps_to_itself_is_missing_with_its_reason(nvml: Any) -> None:
    nvml.refuses["nvmlDeviceGetClockInfo"] = pynvml.NVMLError_NotSupported
    nvml.refuses["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVMLError_Unknown
    with SurroundingsWatch(GPU) as watch:
        seen = watch.read()
    assert (seen.sm_clocks_mhz, seen.memory_clocks_mhz) == ((), ())
    assert (seen.throttle_reasons, seen.foreign_processes) == (None, None)
    assert "MIG" in seen.reasons["sm_clocks_mhz"]
    assert "WSL2" in seen.reasons["throttle_reasons"]
    assert "containers" in seen.reasons["foreign_processes"]
    assert seen.temperatures_c == (55.0, 55.0)
    assert seen.disturbances == ()
