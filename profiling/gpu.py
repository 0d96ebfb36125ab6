"""What NVIDIA's management library (NVML) says about one GPU; each figure may be missing, with the reason."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from core.gpu_visible import VISIBLE, nvml_index, why_hidden
from profiling.gpu_listing import GpuListing, instances_of, is_divided, listed_processes

T = TypeVar("T")

REOPEN_SECONDS = 2.0
"""Between two attempts to find a GPU again that has gone."""

THROTTLE_REASONS = {
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "clocks tied to another GPU's",
    0x020: "temperature limit",
    0x040: "overheating",
    0x080: "power brake",
    0x200: "board limit",
}
"""NVML's clock event bits that mean slower than asked for; idling and clocks that somebody set are not among them."""
_HOST_PID_NAMESPACE = "pid:[4026531836]"
"""Linux gives the first namespace this number on every machine; any other is that of a container."""


@dataclass(frozen=True)
class GpuSample:
    """One reading; None where this GPU or driver does not tell."""

    used_bytes: int | None = None
    """In use by all processes on the device."""
    total_bytes: int | None = None
    utilisation_percent: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_limit_w: float | None = None
    """What the driver holds the board to, whoever set it."""
    throttle_reasons: tuple[str, ...] | None = None
    """Why its clocks are lower than asked for at this moment, in plain words; empty when they are not."""
    energy_mj: int | None = None
    """Millijoules since the driver was loaded."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """For each field that is None, one sentence on why."""


@dataclass(frozen=True)
class GpuProcesses:
    """Who computes on one GPU; None where the driver does not tell, or cannot be believed."""

    own_bytes: int | None = None
    """Held by this process, context and libraries included."""
    foreign_count: int | None = None
    """Other processes."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """For each field that is None, one sentence on why."""


class GpuSampler:
    """Reads the GPU that this process knows as `cuda:N`, or NVML's N. A context manager that holds the library open.

    A GPU that goes away is looked for again every `REOPEN_SECONDS`; until then every figure is None with the reason.
    """

    def __init__(self, index: int, *, is_nvml_index: bool = False) -> None:
        self.index = index
        self._visible = None if is_nvml_index else os.environ.get(VISIBLE)
        self._handle: Any = None
        self._failure = "The GPU is not being watched"
        self._stack = ExitStack()
        self._opened_at: float | None = None
        """Of the clock that never goes back; None while nothing is to be opened."""

    def __enter__(self) -> GpuSampler:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._opened_at = None

    def _open(self) -> None:
        import pynvml

        self._opened_at = time.monotonic()
        try:
            pynvml.nvmlInit()
            self._stack.callback(pynvml.nvmlShutdown)
            index = nvml_index(self.index, self._visible)
            if index is None:
                self._failure = why_hidden(self.index, self._visible or "")
                self._close()
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            self._failure = why(error)
            self._close()

    def _close(self) -> None:
        self._handle = None
        self._stack.close()

    def sample(self) -> GpuSample:
        """One reading of every figure, about a millisecond."""
        reasons: dict[str, str] = {}
        readings = {name: self._read(name, read, reasons) for name, read in _readers().items()}
        return GpuSample(**readings, reasons=reasons)

    def energy_mj(self) -> int | None:
        """The energy counter by itself, for those who want it at a moment; a sample tells why it is None."""
        return self._read("energy_mj", _energy_mj, {})

    def processes(self) -> GpuProcesses:
        """This process and the others on the GPU.

        In containers the driver lists the host's process numbers or none at all, so nothing is told unless this very
        process is found among them.
        """
        import pynvml

        reasons: dict[str, str] = {}
        listed = self._read("processes", pynvml.nvmlDeviceGetComputeRunningProcesses, reasons)
        if listed is None:
            return GpuProcesses(reasons=dict.fromkeys(("own_bytes", "foreign_count"), reasons["processes"]))
        own = [each for each in listed if self._is_this_process(each)]
        if not own:
            sentence = "The driver's list of processes does not show this one (usual in containers)"
            return GpuProcesses(reasons=dict.fromkeys(("own_bytes", "foreign_count"), sentence))
        foreign = {each.pid for each in listed} - {os.getpid()}
        own_bytes = sum(each.usedGpuMemory or 0 for each in own)
        if own_bytes:
            return GpuProcesses(own_bytes, len(foreign))
        sentence = "The driver lists this process without its memory (usual on Windows and in containers)"
        return GpuProcesses(None, len(foreign), {"own_bytes": sentence})

    def _is_this_process(self, listed: Any) -> bool:
        """In a container a number may be another process's on the host: it has to hold what this one holds, too."""
        if listed.pid != os.getpid():
            return False
        held = _torch_held_bytes(self.index)
        could_be = not listed.usedGpuMemory or listed.usedGpuMemory >= held
        return could_be if _numbers_are_the_hosts() else 0 < held <= (listed.usedGpuMemory or 0)

    def listing(self) -> GpuListing:
        """What changes seldom or takes longer to ask: name, driver, MIG mode and instances, and the processes on it."""
        import pynvml

        reasons: dict[str, str] = {}
        is_mig = self._read("is_mig", is_divided, reasons)
        return GpuListing(
            name=self._read("name", lambda gpu: str(pynvml.nvmlDeviceGetName(gpu)), reasons),
            driver=self._read("driver", lambda _gpu: str(pynvml.nvmlSystemGetDriverVersion()), reasons),
            is_mig=is_mig,
            instances=(self._read("instances", instances_of, reasons) or ()) if is_mig else (),
            processes=self._read("processes", listed_processes, reasons),
            names_are_known=_numbers_are_the_hosts(),
            reasons=reasons,
        )

    def _read(self, name: str, read: Callable[[Any], T], reasons: dict[str, str]) -> T | None:
        import pynvml

        if self._handle is None and self._opened_at and time.monotonic() - self._opened_at >= REOPEN_SECONDS:
            self._open()
        if self._handle is None:
            reasons[name] = self._failure
            return None
        try:
            return read(self._handle)
        except pynvml.NVMLError as error:
            reasons[name] = why(error)
            if type(error).__name__ in ("NVMLError_GpuIsLost", "NVMLError_Uninitialized"):
                self._failure = why(error)
                self._close()
                self._opened_at = time.monotonic()
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
        "NVMLError_GpuIsLost": "The GPU has gone: taken away, reset or fallen off its bus; it is being looked for",
        "NVMLError_FunctionNotFound": "This driver is too old to tell",
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
        "sm_clock_mhz": lambda gpu: int(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM)),
        "memory_clock_mhz": lambda gpu: int(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM)),
        "power_limit_w": lambda gpu: pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
        "throttle_reasons": _throttle_reasons,
        "energy_mj": _energy_mj,
    }


def _energy_mj(gpu: Any) -> int:
    import pynvml

    return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu))


def _throttle_reasons(gpu: Any) -> tuple[str, ...]:
    import pynvml

    try:
        bits = pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
    except pynvml.NVMLError_FunctionNotFound:  # drivers before 535 know it by its old name
        bits = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
    return tuple(words for bit, words in THROTTLE_REASONS.items() if bits & bit)


def _numbers_are_the_hosts() -> bool:
    """Whether process numbers here are those the driver sees: everywhere but in a Linux container."""
    namespace = Path("/proc/self/ns/pid")
    return not namespace.is_symlink() or os.readlink(namespace) == _HOST_PID_NAMESPACE


def _torch_held_bytes(index: int) -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_reserved(index))
