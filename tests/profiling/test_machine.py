from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from core.devices import Device, find_device
from profiling.machine import Conditions, conditions

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
    assert Conditions.model_validate_json(found.model_dump_json()) == found


def test_conditions_on_a_gpu_name_its_driver_and_tf32(nvml: Any) -> None:
    found = conditions(Device("cuda:0", "cuda", "Test GPU", 80 * GIB, (9, 0)), threads=1, seed=0)
    assert (found.device_name, found.gpu_driver) == ("Test GPU", "580.1")
    assert found.tf32 == torch.backends.cudnn.allow_tf32
