"""The devices of this machine, found without importing torch."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from core.errors import Unavailable
from core.gpu_visible import VISIBLE, visible_indices

DeviceKind = Literal["cpu", "cuda", "intel"]
"""`intel` are the processors beside an Intel CPU that OpenVINO drives; a recipe names them as its engine's place."""


@dataclass(frozen=True)
class Device:
    """One place where a model can run."""

    id: str
    """`cpu`, or `cuda:N` as CUDA counts: in NVML's order, without what CUDA_VISIBLE_DEVICES hides."""
    kind: DeviceKind
    name: str
    memory_bytes: int
    compute_capability: tuple[int, int] | None = None
    cpu_flags: frozenset[str] = frozenset()

    @property
    def index(self) -> int:
        """The N of `cuda:N`; 0 for the CPU."""
        return int(self.id.partition(":")[2] or 0)


def list_devices() -> list[Device]:
    """The CPU first, then every NVIDIA GPU that the driver shows and CUDA_VISIBLE_DEVICES does not hide."""
    return [_cpu(), *_gpus()[0]]


def find_device(device_id: str) -> Device:
    """The device of that id. Raises `Unavailable` with the ids there are."""
    devices = list_devices()
    for device in devices:
        if device.id == device_id:
            return device
    raise Unavailable(
        f"The device {device_id} is not on this machine",
        expected=" or ".join(device.id for device in devices),
        action=why_no_gpu() or "Choose one of these",
    )


def why_no_gpu() -> str | None:
    """One sentence on why no NVIDIA GPU is offered, or None when there is one."""
    return _gpus()[1]


def default_threads() -> int:
    """CPU threads a run uses unless told otherwise: all cores but one, which keeps the page alive."""
    return max(1, available_cores() - 1)


def available_cores() -> int:
    """Cores this process may be scheduled on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> Device:
    name, flags = _cpu_name_and_flags()
    return Device("cpu", "cpu", name, psutil.virtual_memory().total, cpu_flags=flags)


def _cpu_name_and_flags() -> tuple[str, frozenset[str]]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine(), frozenset()
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    return fields.get("model name") or platform.machine(), frozenset(
        (fields.get("flags") or fields.get("Features", "")).split()
    )


def _gpus() -> tuple[list[Device], str | None]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"No NVIDIA GPU is in use: the driver's management library answered “{error}”"
    gpus, failure = [], "the driver runs but shows no device"
    try:
        count, visible = pynvml.nvmlDeviceGetCount(), os.environ.get(VISIBLE)
        indices = visible_indices(visible, count)
        if count and not indices:
            failure = f"{VISIBLE} is {visible!r}, which hides all that the driver shows, {count} in number"
        for number, index in enumerate(indices):
            try:
                gpus.append(_gpu(number, index))
            except pynvml.NVMLError as error:  # one that is lost hides none of the others
                failure = f"asking for its properties failed with “{error}”"
    except pynvml.NVMLError as error:
        failure = f"asking for their number failed with “{error}”"
    finally:
        pynvml.nvmlShutdown()
    return gpus, None if gpus else f"No NVIDIA GPU is in use: {failure}"


def _gpu(number: int, index: int) -> Device:
    """`cuda:number`, which NVML knows by `index`."""
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name = pynvml.nvmlDeviceGetName(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Device(
        f"cuda:{number}", "cuda", str(name), int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), (major, minor)
    )
