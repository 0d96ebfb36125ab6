"""How much memory this process and those it started took at most, and how much there is; asked once it has run out."""

from __future__ import annotations

import sys
from typing import NamedTuple

import psutil

from core.devices import Device
from profiling.gpu import GpuSampler

_KIB = 1024


class HighWater(NamedTuple):
    """Of one memory, in bytes; None where nothing tells."""

    peak_bytes: int | None
    """The most that one process held of it."""
    total_bytes: int | None


def of_machine() -> HighWater:
    """Of main memory: the highest resident size of this process, or of one that it started and that has ended."""
    return HighWater(_peak_resident_bytes(), psutil.virtual_memory().total)


def of_gpu(device: Device) -> HighWater:
    """Of a GPU: the larger of what PyTorch's allocator held at most and what NVML says the process holds now.

    The one knows nothing of other engines, and the other nothing of the past.
    """
    with GpuSampler(device.index) as gpu:
        held = [gpu.processes().own_bytes, _reserved_by_torch(device)]
    return HighWater(max((each for each in held if each), default=None), device.memory_bytes or None)


def _peak_resident_bytes() -> int:
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * _KIB  # Linux counts in KiB


def _reserved_by_torch(device: Device) -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_reserved(device.index))
