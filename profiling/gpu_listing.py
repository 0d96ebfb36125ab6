"""What one GPU is and who computes on it: facts that change seldom, or take longer to ask than a figure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class GpuProcess:
    """One process on a GPU, as the driver lists it."""

    pid: int
    """In a container: the number it has on the host."""
    used_bytes: int | None
    """None where the driver lists it without its memory, as under Windows and in containers."""


@dataclass(frozen=True)
class MigInstance:
    """One slice of a GPU that was divided (MIG); the driver tells no more of it than this."""

    name: str
    used_bytes: int | None
    total_bytes: int | None


@dataclass(frozen=True)
class GpuListing:
    """One GPU and its company; None where this driver does not tell."""

    name: str | None = None
    driver: str | None = None
    is_mig: bool | None = None
    """Whether it is divided into instances."""
    instances: tuple[MigInstance, ...] = ()
    processes: tuple[GpuProcess, ...] | None = None
    """Those that compute and those that draw."""
    names_are_known: bool = True
    """Whether process numbers are those of this system, so that they lead to the programs' names."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """For each field that is None, one sentence on why."""


def is_divided(gpu: Any) -> bool:
    """Whether a GPU is divided into instances. Raises `NVMLError` where the driver does not tell."""
    import pynvml

    try:
        return bool(pynvml.nvmlDeviceGetMigMode(gpu)[0])
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):  # it, or its driver, cannot be
        return False


def instances_of(gpu: Any) -> tuple[MigInstance, ...]:
    """The instances of a divided GPU that can be seen from here. Raises `NVMLError` where their number is not told."""
    import pynvml

    found = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            found.append(_instance(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number), number))
        except pynvml.NVMLError:  # this place is empty, or another container's
            continue
    return tuple(found)


def _instance(handle: Any, number: int) -> MigInstance:
    import pynvml

    try:
        name = str(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        name = f"Instance {number}"
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return MigInstance(name, None, None)
    return MigInstance(name, int(memory.used), int(memory.total))


def listed_processes(gpu: Any) -> tuple[GpuProcess, ...]:
    """Processes by number, each once. Raises `NVMLError` where those that compute are not told."""
    import pynvml

    listed = list(pynvml.nvmlDeviceGetComputeRunningProcesses(gpu))
    with suppress(pynvml.NVMLError):  # a GPU for servers draws nothing
        listed += pynvml.nvmlDeviceGetGraphicsRunningProcesses(gpu)
    by_pid = {each.pid: GpuProcess(int(each.pid), int(each.usedGpuMemory or 0) or None) for each in reversed(listed)}
    return tuple(sorted(by_pid.values(), key=lambda each: each.pid))
