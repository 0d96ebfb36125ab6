"""What NVIDIA's management library (NVML) says about one GPU; each figure may be missing, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class GpuSample:
    """One reading; None where this GPU or driver does not tell."""

    used_bytes: int | None = None
    """In use by all processes on the device."""
    total_bytes: int | None = None
    utilisation_percent: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """For each field that is None, one sentence on why."""


class GpuSampler:
    """Reads one GPU, numbered in NVML's order. A context manager that holds the library open."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._handle: Any = None
        self._failure = "The GPU is not being watched"
        self._stack = ExitStack()

    def __enter__(self) -> GpuSampler:
        import pynvml

        try:
            pynvml.nvmlInit()
            self._stack.callback(pynvml.nvmlShutdown)
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(self._index)
        except pynvml.NVMLError as error:
            self._failure = why(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle = None
        self._stack.close()

    def sample(self) -> GpuSample:
        """One reading of every figure, about a millisecond."""
        reasons: dict[str, str] = {}
        readings = {name: self._read(name, read, reasons) for name, read in _readers().items()}
        return GpuSample(**readings, reasons=reasons)

    def _read(self, name: str, read: Callable[[Any], T], reasons: dict[str, str]) -> T | None:
        import pynvml

        if self._handle is None:
            reasons[name] = self._failure
            return None
        try:
            return read(self._handle)
        except pynvml.NVMLError as error:
            reasons[name] = why(error)
            return None


def driver_version() -> str | None:
    """The NVIDIA driver's version, or None without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def why(error: Exception) -> str:
    """One sentence for an NVML error."""
    sentences = {
        "NVMLError_LibraryNotFound": "No NVIDIA driver is installed",
        "NVMLError_DriverNotLoaded": "The NVIDIA driver is installed but not running",
        "NVMLError_NoPermission": "This user may not ask for it",
        "NVMLError_NotSupported": "This GPU does not report it (MIG slices and some laptop GPUs do not)",
        "NVMLError_Unknown": "The driver gave no answer (usual under WSL2)",
    }
    return sentences.get(type(error).__name__, f"The driver answered “{error}”")


def _readers() -> dict[str, Callable[[Any], Any]]:
    import pynvml

    return {
        "used_bytes": lambda gpu: int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used),
        "total_bytes": lambda gpu: int(pynvml.nvmlDeviceGetMemoryInfo(gpu).total),
        "utilisation_percent": lambda gpu: float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
        "power_w": lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
        "temperature_c": lambda gpu: float(pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)),
    }
