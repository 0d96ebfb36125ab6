"""A stand-in for NVIDIA's management library, so that its answers can be chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

GIB = 1 << 30


class FakeNvml:
    """Answers like one GPU; `refuses` maps a function's name to the error it raises instead.

    An answer that can be called is asked each time.
    """

    def __init__(self) -> None:
        self.refuses: dict[str, type[pynvml.NVMLError]] = {}
        self.opened = 0
        self.answers: dict[str, Any] = {
            "nvmlDeviceGetHandleByIndex": "gpu",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3 * GIB, total=80 * GIB),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=42, memory=7),
            "nvmlDeviceGetPowerUsage": 123_456,
            "nvmlDeviceGetTemperature": 55,
            "nvmlDeviceGetClockInfo": lambda _gpu, kind: {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[
                kind
            ],
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetCurrentClocksEventReasons": pynvml.nvmlClocksEventReasonGpuIdle,
            "nvmlDeviceGetCurrentClocksThrottleReasons": pynvml.nvmlClocksThrottleReasonGpuIdle,
            "nvmlDeviceGetTotalEnergyConsumption": 1_234_567,
            "nvmlDeviceGetComputeRunningProcesses": [],
            "nvmlSystemGetDriverVersion": "580.1",
        }

    def call(self, name: str, *arguments: Any) -> Any:
        if name in self.refuses:
            raise self.refuses[name]()
        self.opened += {"nvmlInit": 1, "nvmlShutdown": -1}.get(name, 0)
        answer = self.answers.get(name)
        return answer(*arguments) if callable(answer) else answer


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    for name in (*fake.answers, "nvmlInit", "nvmlShutdown"):
        monkeypatch.setattr(pynvml, name, lambda *given, name=name: fake.call(name, *given))
    return fake
