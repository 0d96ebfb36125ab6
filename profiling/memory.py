"""The memory that opening an artifact and serving from it takes."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple

import psutil
from pydantic import BaseModel, ConfigDict

from core.data import Inputs
from core.devices import Device
from profiling.gpu import GpuSampler
from profiling.subject import Subject

SAMPLE_SECONDS = 0.002
EXERCISE_SECONDS = 0.3
_NO_TORCH = "PyTorch has not used the GPU in this process"
_UNTOLD_BEFORE = "The driver did not tell it beforehand"


class MemoryFigure(NamedTuple):
    """One line of a table of memory figures."""

    label: str
    value_bytes: int | None
    meaning: str
    """What it counts, or why it is missing."""


class Memory(BaseModel):
    """Figures that count different things, smallest first on a GPU; None where one does not apply or is not told."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    process_before_rss_bytes: int
    """Resident memory of the process before the artifact was opened."""
    process_peak_rss_bytes: int
    """Its highest while opening and serving, everything else the process holds included."""
    peak_allocated_bytes: int | None = None
    """GPU: PyTorch's tensors at their highest. Sees only PyTorch's own allocator."""
    peak_reserved_bytes: int | None = None
    """GPU: what PyTorch's allocator held for them."""
    process_device_bytes: int | None = None
    """GPU: held by this process afterwards, libraries and context included (NVML)."""
    device_before_used_bytes: int | None = None
    device_used_bytes: int | None = None
    """GPU: in use by all processes on the device afterwards, libraries and context included (NVML)."""
    torch_sees_engine: bool = True
    """False for an engine that takes its GPU memory past PyTorch's allocator, which then counts next to nothing."""
    in_fresh_process: bool = False
    """Whether it was a process that did nothing before, so that the engine's libraries count as growth."""
    reasons: dict[str, str] = {}
    """For each figure that is None although a GPU served, one sentence on why."""

    @property
    def process_delta_rss_bytes(self) -> int:
        """How much the process grew."""
        return max(0, self.process_peak_rss_bytes - self.process_before_rss_bytes)

    @property
    def device_delta_bytes(self) -> int | None:
        """How much more of the device is in use; wrong when another process uses it too."""
        if self.device_used_bytes is None or self.device_before_used_bytes is None:
            return None
        return max(0, self.device_used_bytes - self.device_before_used_bytes)

    @property
    def headline_bytes(self) -> int:
        """The figure to compare variants by."""
        return self._headline[0]

    @property
    def headline_label(self) -> str:
        """What that figure counts."""
        return self._headline[1]

    @property
    def figures(self) -> tuple[MemoryFigure, ...]:
        """Every figure, those of a GPU first: each but the growth counts all that the one before it does, and more."""
        told = ((label, getattr(self, name), name, meaning) for name, (label, meaning) in _FIGURES.items())
        return tuple(
            MemoryFigure(label, value, meaning if value is not None else self._why_missing(name))
            for label, value, name, meaning in told
        )

    def _why_missing(self, name: str) -> str:
        if name in self.reasons:
            return self.reasons[name]
        is_gpu = self.device_used_bytes is not None or bool(self.reasons)
        return "Not recorded with this result" if is_gpu else "No GPU took part"

    @property
    def _headline(self) -> tuple[int, str]:
        if self.peak_allocated_bytes and self.torch_sees_engine:
            return self.peak_allocated_bytes, "peak allocated on the GPU"
        if self.device_delta_bytes:
            return self.device_delta_bytes, f"growth of the GPU memory in use{self._since}"
        return self.process_delta_rss_bytes, f"growth of the process{self._since}"

    @property
    def _since(self) -> str:
        return " since before its engine was loaded, libraries included" if self.in_fresh_process else ""


_FIGURES = {
    "peak_allocated_bytes": (
        "Peak allocated by PyTorch",
        "Tensors on the GPU at their highest, in PyTorch's own allocator only: other engines' memory is not in it",
    ),
    "peak_reserved_bytes": ("Peak reserved by PyTorch", "What that allocator held for them at its highest"),
    "process_device_bytes": (
        "GPU memory of the process",
        "Held by this process while serving, the libraries and the CUDA context included (NVML)",
    ),
    "device_used_bytes": ("GPU memory in use", "By all processes on the device while serving (NVML)"),
    "device_delta_bytes": (
        "Growth of the GPU memory in use",
        "Since before the artifact was opened; wrong when another process came or went",
    ),
    "process_peak_rss_bytes": ("Peak of the process", "Resident in main memory, all that the process holds"),
    "process_delta_rss_bytes": (
        "Growth of the process",
        "From before the artifact was opened to that peak: the artifact, its engine and its activations; where a fresh "
        "process was measured, the engine's libraries too",
    ),
}


class MemoryWatch:
    """Watches from entering it until `measure_memory` reads it: enter it before the artifact is opened."""

    def __init__(self, device: Device) -> None:
        self._gpu = GpuSampler(device.index) if device.kind == "cuda" else None
        self._device = device
        self._process = psutil.Process()
        self._stack = ExitStack()
        self._ended = threading.Event()
        self._before = self._peak = 0
        self._device_before: int | None = None

    def __enter__(self) -> MemoryWatch:
        return_free_memory(self._device)
        if self._gpu:
            self._device_before = self._stack.enter_context(self._gpu).sample().used_bytes
        self._before = self._peak = self._process.memory_info().rss
        thread = threading.Thread(target=self._work, name="memory", daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._ended.set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, batch_size: int, *, torch_sees_engine: bool = True) -> Memory:
        """What was seen; the watching ends here, so that nothing disturbs what is measured next."""
        seen = self._device_figures() if self._gpu else {}
        self._stack.close()
        return Memory(
            batch_size=batch_size,
            process_before_rss_bytes=self._before,
            process_peak_rss_bytes=max(self._peak, self._process.memory_info().rss),
            torch_sees_engine=torch_sees_engine,
            **seen,
        )

    def _device_figures(self) -> dict[str, Any]:
        assert self._gpu
        sample, processes = self._gpu.sample(), self._gpu.processes()
        allocated, reserved = _torch_peak(self._device)
        figures = {
            "peak_allocated_bytes": (allocated, _NO_TORCH),
            "peak_reserved_bytes": (reserved, _NO_TORCH),
            "process_device_bytes": (processes.own_bytes, processes.reasons.get("own_bytes")),
            "device_before_used_bytes": (self._device_before, sample.reasons.get("used_bytes", _UNTOLD_BEFORE)),
            "device_used_bytes": (sample.used_bytes, sample.reasons.get("used_bytes")),
        }
        reasons = {name: reason for name, (value, reason) in figures.items() if value is None}
        if untold := reasons.get("device_used_bytes") or reasons.get("device_before_used_bytes"):
            reasons["device_delta_bytes"] = untold
        return {name: value for name, (value, _) in figures.items()} | {"reasons": reasons}

    def _work(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)


def measure_memory(session: Subject, x: Inputs, watch: MemoryWatch) -> Memory:
    """Serve x[N, C, H, W] for a moment, from outside memory and back, and read the watch."""
    end = time.monotonic() + EXERCISE_SECONDS
    session.run(x)
    while time.monotonic() < end:
        session.run(x)
    return watch.read(len(x), torch_sees_engine=not getattr(session, "allocates_past_torch", False))


def return_free_memory(device: Device) -> None:
    """Give freed memory back to the system, or later growth hides in what earlier work left behind.

    That is the C library's (glibc) and PyTorch's, whose peaks begin anew.
    """
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
    torch = sys.modules.get("torch")
    if device.kind == "cuda" and torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device.index)


def _torch_peak(device: Device) -> tuple[int | None, int | None]:
    """Peak allocated and reserved bytes; None where this process has not used PyTorch on a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None, None
    return torch.cuda.max_memory_allocated(device.index), torch.cuda.max_memory_reserved(device.index)
