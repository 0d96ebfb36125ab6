from __future__ import annotations

import os
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

import profiling.gpu
from profiling.gpu import GpuProcesses, GpuSample, GpuSampler, driver_version

GIB = 1 << 30
FIELDS = {field.name for field in fields(GpuSample)} - {"reasons"}


def sample() -> GpuSample:
    with GpuSampler(0) as gpu:
        return gpu.sample()


def test_one_gpu_in_the_units_of_the_field_names(nvml: Any) -> None:
    assert sample() == GpuSample(3 * GIB, 80 * GIB, 42.0, 123.456, 55.0, 1980, 3201, 700.0, (), 1_234_567)
    assert nvml.opened == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (pynvml.NVMLError_LibraryNotFound, "No NVIDIA driver is installed"),
        (pynvml.NVMLError_DriverNotLoaded, "not running"),
    ],
)
def test_without_a_driver_every_field_is_none_with_the_same_reason(
    nvml: Any, error: type[pynvml.NVMLError], reason: str
) -> None:
    nvml.refuses["nvmlInit"] = error
    taken = sample()
    assert all(getattr(taken, name) is None for name in FIELDS)
    assert set(taken.reasons) == FIELDS
    assert all(reason in each for each in taken.reasons.values())
    assert driver_version() is None


def test_a_mig_slice_tells_memory_but_not_utilisation(nvml: Any) -> None:
    nvml.refuses["nvmlDeviceGetUtilizationRates"] = pynvml.NVMLError_NotSupported
    nvml.refuses["nvmlDeviceGetPowerUsage"] = pynvml.NVMLError_Unknown
    taken = sample()
    assert (taken.used_bytes, taken.utilisation_percent, taken.power_w) == (3 * GIB, None, None)
    assert set(taken.reasons) == {"utilisation_percent", "power_w"}
    assert "MIG" in taken.reasons["utilisation_percent"]
    assert "WSL2" in taken.reasons["power_w"]


def test_a_gpu_that_is_not_there(nvml: Any) -> None:
    nvml.refuses["nvmlDeviceGetHandleByIndex"] = pynvml.NVMLError_InvalidArgument
    assert "The driver answered" in sample().reasons["power_w"]
    assert nvml.opened == 0


IDLE_OR_WANTED = (
    pynvml.nvmlClocksEventReasonNone,
    pynvml.nvmlClocksEventReasonGpuIdle,
    pynvml.nvmlClocksEventReasonApplicationsClocksSetting,
    pynvml.nvmlClocksEventReasonDisplayClockSetting,
)
SLOWED = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "clocks tied to another GPU's",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "temperature limit",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "overheating",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}


@pytest.mark.parametrize("bits", IDLE_OR_WANTED)
def test_a_gpu_that_idles_or_runs_at_a_clock_somebody_set_is_not_throttled(nvml: Any, bits: int) -> None:
    nvml.answers["nvmlDeviceGetCurrentClocksEventReasons"] = bits
    assert sample().throttle_reasons == ()


@pytest.mark.parametrize(("bit", "words"), SLOWED.items())
def test_each_reason_for_throttling_is_said_in_words(nvml: Any, bit: int, words: str) -> None:
    nvml.answers["nvmlDeviceGetCurrentClocksEventReasons"] = bit | pynvml.nvmlClocksEventReasonGpuIdle
    assert sample().throttle_reasons == (words,)


def test_two_reasons_at_once(nvml: Any) -> None:
    nvml.answers["nvmlDeviceGetCurrentClocksEventReasons"] = sum(list(SLOWED)[:2])
    assert sample().throttle_reasons == ("power cap", "hardware slowdown")


def test_an_older_driver_is_asked_by_the_older_name(nvml: Any) -> None:
    nvml.refuses["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVMLError_FunctionNotFound
    nvml.answers["nvmlDeviceGetCurrentClocksThrottleReasons"] = pynvml.nvmlClocksThrottleReasonSwPowerCap
    assert sample().throttle_reasons == ("power cap",)
    nvml.refuses["nvmlDeviceGetCurrentClocksThrottleReasons"] = pynvml.NVMLError_NotSupported
    taken = sample()
    assert taken.throttle_reasons is None
    assert "MIG" in taken.reasons["throttle_reasons"]


def test_the_energy_counter_alone(nvml: Any) -> None:
    with GpuSampler(0) as gpu:
        assert gpu.energy_mj() == 1_234_567
        nvml.refuses["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError_NotSupported
        assert gpu.energy_mj() is None


def listed(pid: int, used_bytes: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


def processes(nvml: Any, *found: SimpleNamespace) -> GpuProcesses:
    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = list(found)
    with GpuSampler(0) as gpu:
        return gpu.processes()


@pytest.fixture
def held_bytes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chooses what PyTorch holds on the GPU and whether process numbers are the host's."""

    def choose(count: int, *, host_numbers: bool = True) -> None:
        monkeypatch.setattr(profiling.gpu, "_torch_held_bytes", lambda _index: count)
        monkeypatch.setattr(profiling.gpu, "_numbers_are_the_hosts", lambda: host_numbers)

    return choose


def test_this_process_and_two_others(nvml: Any, held_bytes: Any) -> None:
    held_bytes(GIB)
    ours = os.getpid()
    found = processes(nvml, listed(ours, 2 * GIB), listed(ours + 1, GIB), listed(ours + 2, None))
    assert found == GpuProcesses(2 * GIB, 2)


def test_a_list_of_numbers_without_ours_tells_nothing(nvml: Any) -> None:
    for found in (processes(nvml), processes(nvml, listed(os.getpid() + 1, GIB))):
        assert (found.own_bytes, found.foreign_count) == (None, None)
        assert "containers" in found.reasons["own_bytes"]
        assert found.reasons["own_bytes"] == found.reasons["foreign_count"]


@pytest.mark.parametrize(
    ("held", "told", "is_ours"), [(0, 5 * GIB, False), (GIB, GIB // 2, False), (GIB, None, False), (GIB, 2 * GIB, True)]
)
def test_in_a_container_our_number_is_believed_only_with_the_memory_we_hold(
    nvml: Any, held_bytes: Any, held: int, told: int | None, is_ours: bool
) -> None:
    held_bytes(held, host_numbers=False)
    found = processes(nvml, listed(os.getpid(), told), listed(os.getpid() + 1, GIB))
    assert found.foreign_count == (1 if is_ours else None)
    assert found.own_bytes == (told if is_ours else None)


@pytest.mark.parametrize("told", [None, 0])
def test_a_process_listed_without_memory_still_counts_the_others(nvml: Any, held_bytes: Any, told: int | None) -> None:
    held_bytes(GIB)
    found = processes(nvml, listed(os.getpid(), told), listed(os.getpid() + 1, GIB))
    assert (found.own_bytes, found.foreign_count) == (None, 1)
    assert set(found.reasons) == {"own_bytes"}


def test_a_driver_that_keeps_its_list_to_itself(nvml: Any) -> None:
    nvml.refuses["nvmlDeviceGetComputeRunningProcesses"] = pynvml.NVMLError_NoPermission
    assert processes(nvml).reasons["foreign_count"] == "This user may not ask for it"


def test_the_drivers_version(nvml: Any) -> None:
    assert driver_version() == "580.1"
    assert nvml.opened == 0
