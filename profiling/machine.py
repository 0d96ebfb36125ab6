"""The conditions under which numbers were measured."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from core.devices import Device, available_cores, find_device
from profiling.gpu import GpuSample, GpuSampler, driver_version

LIBRARIES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "ai-edge-litert",
    "litert-quantizer",
    "torch-pruning",
    "numpy",
)
"""What may take part in a measurement, where it is not known what did."""


class Conditions(BaseModel):
    """What has to be the same for a number to come out the same."""

    model_config = ConfigDict(frozen=True)

    device: str
    """`cpu` or `cuda:N`."""
    device_name: str
    cpu_name: str
    cores: int
    """Cores this process may use."""
    threads: int
    seed: int
    os: str
    python: str
    libraries: dict[str, str]
    """Distribution name to version, of what took part; where that was not asked, of all in `LIBRARIES`."""
    gpu_driver: str | None
    tf32: bool | None
    """Whether fp32 convolutions use TF32 on the GPU, as they do by PyTorch's default; None on a CPU."""
    commit: str | None
    """Of this program, where it runs from a git checkout."""
    date: datetime
    cpu_mhz: float | None = None
    """Clock of the CPU at that moment; None where the system does not tell."""
    gpu_sm_clock_mhz: int | None = None
    gpu_memory_clock_mhz: int | None = None
    gpu_power_limit_w: float | None = None


def conditions(device: Device, *, threads: int, seed: int, libraries: Mapping[str, str] | None = None) -> Conditions:
    """The conditions here and now; without `libraries`, name to version, all of `LIBRARIES` that are installed."""
    is_gpu = device.kind == "cuda"
    gpu = _gpu_sample(device) if is_gpu else GpuSample()
    return Conditions(
        device=device.id,
        device_name=device.name,
        cpu_name=find_device("cpu").name,
        cores=available_cores(),
        threads=threads,
        seed=seed,
        os=platform.platform(),
        python=platform.python_version(),
        libraries=dict(versions(LIBRARIES) if libraries is None else libraries),
        gpu_driver=driver_version() if is_gpu else None,
        tf32=_convolutions_use_tf32() if is_gpu else None,
        commit=_commit(),
        date=datetime.now(UTC),
        cpu_mhz=cpu_mhz(),
        gpu_sm_clock_mhz=gpu.sm_clock_mhz,
        gpu_memory_clock_mhz=gpu.memory_clock_mhz,
        gpu_power_limit_w=gpu.power_limit_w,
    )


def versions(names: Iterable[str]) -> dict[str, str]:
    """Name to version of those distributions that are installed here, in the order of the names."""
    return {name: found for name in names if (found := _version(name))}


def cpu_mhz() -> float | None:
    """The CPU's clock now, averaged over its cores; None where the system does not tell."""
    try:
        frequency = psutil.cpu_freq()
    except (AttributeError, NotImplementedError, OSError, RuntimeError):  # each on some system
        return None
    return frequency.current or None if frequency else None


def _gpu_sample(device: Device) -> GpuSample:
    with GpuSampler(device.index) as gpu:
        return gpu.sample()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _convolutions_use_tf32() -> bool | None:
    torch = sys.modules.get("torch")
    return bool(torch.backends.cudnn.allow_tf32) if torch else None


def _commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
