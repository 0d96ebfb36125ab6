from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from core.devices import Device, find_device
from profiling.machine import Conditions, conditions, cpu_mhz, versions

GIB = 1 << 30


def test_conditions_on_the_cpu() -> None:
    found = conditions(find_device("cpu"), threads=2, seed=7)
    assert (found.device, found.threads, found.seed) == ("cpu", 2, 7)
    assert found.device_name == found.cpu_name != ""
    assert 1 <= found.cores <= os.cpu_count()
    assert found.python == platform.python_version() == sys.version.split()[0]
    assert (found.libraries["torch"], found.libraries["numpy"]) == (torch.__version__.split("+")[0], np.__version__)
    assert (found.gpu_driver, found.tf32) == (None, None)
    assert abs((datetime.now(UTC) - found.date).total_seconds()) < 60
    assert found.gpu_sm_clock_mhz is None
    assert Conditions.model_validate_json(found.model_dump_json()) == found


def test_the_libraries_are_those_that_are_given() -> None:
    given = versions(("numpy", "nowhere-to-be-found"))
    assert given == {"numpy": np.__version__}
    assert conditions(find_device("cpu"), threads=1, seed=0, libraries=given).libraries == given


def test_conditions_of_an_older_result_are_still_read() -> None:
    stored = conditions(find_device("cpu"), threads=2, seed=7).model_dump(mode="json")
    newer = {"cpu_mhz", "gpu_sm_clock_mhz", "gpu_memory_clock_mhz", "gpu_power_limit_w"}
    read = Conditions.model_validate({name: value for name, value in stored.items() if name not in newer})
    assert all(getattr(read, name) is None for name in newer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(SimpleNamespace(current=2600.0), 2600.0), (SimpleNamespace(current=0.0), None), (None, None)],
)
def test_the_cpus_clock_where_the_system_tells_it(
    monkeypatch: pytest.MonkeyPatch, answer: SimpleNamespace | None, expected: float | None
) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda: answer)
    assert cpu_mhz() == expected


def test_the_cpus_clock_where_asking_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "cpu_freq")
    assert cpu_mhz() is None


def test_conditions_on_a_gpu_name_its_driver_and_tf32(nvml: Any) -> None:
    found = conditions(Device("cuda:0", "cuda", "Test GPU", 80 * GIB, (9, 0)), threads=1, seed=0)
    assert (found.device_name, found.gpu_driver) == ("Test GPU", "580.1")
    assert found.tf32 == torch.backends.cudnn.allow_tf32
    assert (found.gpu_sm_clock_mhz, found.gpu_memory_clock_mhz, found.gpu_power_limit_w) == (1980, 3201, 700.0)
    assert nvml.opened == 0
