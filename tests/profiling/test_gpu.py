from __future__ import annotations

from typing import Any

import pynvml
import pytest

from profiling.gpu import GpuSample, GpuSampler, driver_version

GIB = 1 << 30
FIELDS = {"used_bytes", "total_bytes", "utilisation_percent", "power_w", "temperature_c"}


def sample() -> GpuSample:
    with GpuSampler(0) as gpu:
        return gpu.sample()


def test_one_gpu_in_the_units_of_the_field_names(nvml: Any) -> None:
    assert sample() == GpuSample(3 * GIB, 80 * GIB, 42.0, 123.456, 55.0)
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


def test_the_drivers_version(nvml: Any) -> None:
    assert driver_version() == "580.1"
    assert nvml.opened == 0
