"""A stand-in for NVIDIA's management library itself: the C entry points that pynvml calls through `pynvml.nvmlLib`.

pynvml's own code runs on top of it unchanged: its reference counts, structures, error classes and lists.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

GIB = 1 << 30
_FIRST_HANDLE = 0x1000
_SLICES = 0x100
"""A GPU's instances have handles above its own."""
_NO_MEMORY_TOLD = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value


@dataclass
class FakeGpu:
    """One GPU and what it answers."""

    name: str = "NVIDIA Test GPU"
    used_bytes: int = 3 * GIB
    total_bytes: int = 80 * GIB
    utilisation: int = 42
    power_mw: int = 123_456
    limit_mw: int = 700_000
    celsius: int = 55
    sm_mhz: int = 1980
    memory_mhz: int = 3201
    clock_events: int = pynvml.nvmlClocksEventReasonGpuIdle
    energy_mj: int = 1_234_567
    capability: tuple[int, int] = (9, 0)
    uuid: str = "GPU-00000000"
    processes: dict[int, int | None] = field(default_factory=dict)
    """Bytes by process number; None where they are not told."""
    slices: list[FakeGpu] | None = None
    """Its MIG instances; None for a GPU that cannot be divided, empty for one that is not."""
    refuses: dict[str, int] = field(default_factory=dict)
    """Error codes by entry point."""
    is_lost: bool = False


class FakeLibrary:
    """Entry points as attributes; what is not here is a function that this driver does not have."""

    def __init__(self, gpus: Sequence[FakeGpu] = (), *, init: int = pynvml.NVML_SUCCESS, driver: str = "580.65.06"):
        self.gpus, self.init, self.driver = list(gpus), init, driver
        self.opened = 0
        self.calls: list[str] = []
        self._entries = {
            "nvmlInitWithFlags": self._init,
            "nvmlShutdown": self._shutdown,
            "nvmlDeviceGetCount_v2": self._count,
            "nvmlDeviceGetHandleByIndex_v2": self._handle,
            "nvmlSystemGetDriverVersion": self._driver,
            "nvmlErrorString": lambda code: f"code {code}".encode(),
            "nvmlDeviceGetMemoryInfo": _of_gpu(_memory),
            "nvmlDeviceGetUtilizationRates": _of_gpu(_utilisation),
            "nvmlDeviceGetMigMode": _of_gpu(_mig_mode),
            "nvmlDeviceGetComputeRunningProcesses_v3": _of_gpu(_processes),
            "nvmlDeviceGetGraphicsRunningProcesses_v3": _of_gpu(lambda gpu, count, _found: _set(count, 0)),
            "nvmlDeviceGetName": _of_gpu(lambda gpu, buffer, _size: _write(buffer, gpu.name)),
            "nvmlDeviceGetUUID": _of_gpu(lambda gpu, buffer, _size: _write(buffer, gpu.uuid)),
            "nvmlDeviceGetTemperature": _of_gpu(lambda gpu, _sensor, out: _set(out, gpu.celsius)),
            "nvmlDeviceGetClockInfo": _of_gpu(_clock),
            "nvmlDeviceGetCudaComputeCapability": _of_gpu(
                lambda gpu, major, minor: (_set(major, gpu.capability[0]), _set(minor, gpu.capability[1]))[0]
            ),
            "nvmlDeviceGetMaxMigDeviceCount": _of_gpu(lambda gpu, out: _set(out, 7 if gpu.slices else 0)),
            "nvmlDeviceGetMigDeviceHandleByIndex": _of_gpu(self._slice),
            "nvmlDeviceGetPowerUsage": _of_gpu(lambda gpu, out: _set(out, gpu.power_mw)),
            "nvmlDeviceGetEnforcedPowerLimit": _of_gpu(lambda gpu, out: _set(out, gpu.limit_mw)),
            "nvmlDeviceGetCurrentClocksEventReasons": _of_gpu(lambda gpu, out: _set(out, gpu.clock_events)),
            "nvmlDeviceGetTotalEnergyConsumption": _of_gpu(lambda gpu, out: _set(out, gpu.energy_mj)),
        }

    def __getattr__(self, name: str) -> Callable[..., Any]:
        entry = self.__dict__.get("_entries", {}).get(name)
        if entry is None:
            raise AttributeError(name)

        def called(*arguments: Any) -> Any:
            self.calls.append(name)
            if not hasattr(entry, "wants_gpu"):
                return entry(*arguments)
            if not self.opened:
                return pynvml.NVML_ERROR_UNINITIALIZED
            gpu = self._at(arguments[0])
            if gpu.is_lost:
                return pynvml.NVML_ERROR_GPU_IS_LOST
            return gpu.refuses.get(name) or entry(gpu, *arguments[1:])

        return called

    def _init(self, _flags: int) -> int:
        self.opened += self.init == pynvml.NVML_SUCCESS
        return self.init

    def _shutdown(self) -> int:
        self.opened -= 1
        return pynvml.NVML_SUCCESS

    def _count(self, out: Any) -> int:
        return _set(out, len(self.gpus))

    def _driver(self, buffer: Any, _size: Any) -> int:
        return _write(buffer, self.driver)

    def _handle(self, index: Any, out: Any) -> int:
        if index.value >= len(self.gpus):
            return pynvml.NVML_ERROR_INVALID_ARGUMENT
        return pynvml.NVML_ERROR_GPU_IS_LOST if self.gpus[index.value].is_lost else _point(out, _number(index.value))

    def _slice(self, gpu: FakeGpu, number: Any, out: Any) -> int:
        if number.value >= len(gpu.slices or ()):
            return pynvml.NVML_ERROR_NOT_FOUND
        return _point(out, _number(self.gpus.index(gpu)) + 1 + number.value)

    def _at(self, handle: Any) -> FakeGpu:
        index, number = divmod(ctypes.cast(handle, ctypes.c_void_p).value - _FIRST_HANDLE, _SLICES)
        gpu = self.gpus[index]
        return (gpu.slices or [])[number - 1] if number else gpu


@contextmanager
def installed(library: FakeLibrary | None) -> Iterator[FakeLibrary]:
    """The library in the place of the machine's own; None for a machine that has none."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pynvml, "nvmlLib", library)
    patch.setattr(pynvml, "CDLL", _no_library)
    patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    patch.setattr(pynvml, "_nvmlLib_refcount", 0)
    try:
        yield library or FakeLibrary()
    finally:
        patch.undo()


def mig_gpu(*used: int) -> FakeGpu:
    """A divided GPU with an instance of 10 GiB for each number of bytes in use, answering as the driver does for it."""
    whole_board_only = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage")
    alone = dict.fromkeys(whole_board_only, pynvml.NVML_ERROR_NOT_SUPPORTED)
    slices = [
        FakeGpu("NVIDIA Test GPU MIG 1g.10gb", each, 10 * GIB, refuses=alone, uuid=f"MIG-{number}000")
        for number, each in enumerate(used)
    ]
    return FakeGpu(slices=slices, refuses={"nvmlDeviceGetUtilizationRates": pynvml.NVML_ERROR_NOT_SUPPORTED})


def wsl_gpu() -> FakeGpu:
    """A GPU under WSL2, where the driver tells name and memory and answers much else with an unknown error."""
    silent = (
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetComputeRunningProcesses_v3",
    )
    return FakeGpu(refuses=dict.fromkeys(silent, pynvml.NVML_ERROR_UNKNOWN))


def _of_gpu(entry: Callable[..., int]) -> Callable[..., int]:
    """Marks an entry point whose first argument is a GPU's handle."""

    def wrapped(*arguments: Any) -> int:
        return entry(*arguments)

    wrapped.wants_gpu = True
    return wrapped


def _number(index: int) -> int:
    return _FIRST_HANDLE + _SLICES * index


def _set(out: Any, value: int) -> int:
    out._obj.value = value
    return pynvml.NVML_SUCCESS


def _point(out: Any, address: int) -> int:
    ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))[0] = address
    return pynvml.NVML_SUCCESS


def _write(buffer: Any, text: str) -> int:
    buffer.value = text.encode()
    return pynvml.NVML_SUCCESS


def _memory(gpu: FakeGpu, out: Any) -> int:
    out._obj.used, out._obj.total = gpu.used_bytes, gpu.total_bytes
    out._obj.free = gpu.total_bytes - gpu.used_bytes
    return pynvml.NVML_SUCCESS


def _utilisation(gpu: FakeGpu, out: Any) -> int:
    out._obj.gpu, out._obj.memory = gpu.utilisation, 7
    return pynvml.NVML_SUCCESS


def _clock(gpu: FakeGpu, kind: Any, out: Any) -> int:
    return _set(out, {pynvml.NVML_CLOCK_SM: gpu.sm_mhz, pynvml.NVML_CLOCK_MEM: gpu.memory_mhz}[kind.value])


def _mig_mode(gpu: FakeGpu, current: Any, pending: Any) -> int:
    if gpu.slices is None:
        return pynvml.NVML_ERROR_NOT_SUPPORTED
    _set(pending, bool(gpu.slices))
    return _set(current, bool(gpu.slices))


def _processes(gpu: FakeGpu, count: Any, found: Any) -> int:
    if found is None:
        _set(count, len(gpu.processes))
        return pynvml.NVML_ERROR_INSUFFICIENT_SIZE if gpu.processes else pynvml.NVML_SUCCESS
    for place, (pid, used) in zip(found, gpu.processes.items(), strict=False):
        place.pid, place.usedGpuMemory = pid, _NO_MEMORY_TOLD if used is None else used
    return _set(count, len(gpu.processes))


def _no_library(_name: str) -> Any:
    raise OSError("libnvidia-ml.so.1: cannot open shared object file")
