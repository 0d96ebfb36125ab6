"""The memory that opening an artifact and serving from it takes."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from contextlib import ExitStack
from types import TracebackType

import psutil
from pydantic import BaseModel, ConfigDict

from core.data import Floats
from core.devices import Device
from profiling.gpu import GpuSampler
from profiling.subject import Subject

SAMPLE_SECONDS = 0.002
EXERCISE_SECONDS = 0.3


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
    device_before_used_bytes: int | None = None
    device_used_bytes: int | None = None
    """GPU: in use by all processes on the device afterwards, libraries and context included (NVML)."""

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
    def _headline(self) -> tuple[int, str]:
        if self.peak_allocated_bytes:
            return self.peak_allocated_bytes, "peak allocated on the GPU"
        if self.device_delta_bytes:
            return self.device_delta_bytes, "growth of the GPU memory in use"
        return self.process_delta_rss_bytes, "growth of the process"


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
        _return_free_memory()
        if self._gpu:
            _reset_torch_peak(self._device)
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

    def read(self, batch_size: int) -> Memory:
        """What was seen; the watching ends here, so that nothing disturbs what is measured next."""
        device_used = self._gpu.sample().used_bytes if self._gpu else None
        self._stack.close()
        allocated, reserved = _torch_peak(self._device) if self._gpu else (None, None)
        return Memory(
            batch_size=batch_size,
            process_before_rss_bytes=self._before,
            process_peak_rss_bytes=max(self._peak, self._process.memory_info().rss),
            peak_allocated_bytes=allocated,
            peak_reserved_bytes=reserved,
            device_before_used_bytes=self._device_before,
            device_used_bytes=device_used,
        )

    def _work(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._process.memory_info().rss)


def measure_memory(session: Subject, x: Floats, watch: MemoryWatch) -> Memory:
    """Serve x[N, C, H, W] for a moment, from outside memory and back, and read the watch."""
    end = time.monotonic() + EXERCISE_SECONDS
    session.run(x)
    while time.monotonic() < end:
        session.run(x)
    return watch.read(len(x))


def _return_free_memory() -> None:
    """Give freed memory back to the system, or later growth hides in what earlier phases left behind (glibc)."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _reset_torch_peak(device: Device) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device.index)


def _torch_peak(device: Device) -> tuple[int | None, int | None]:
    """Peak allocated and reserved bytes; None where this process has not used PyTorch on a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None, None
    return torch.cuda.max_memory_allocated(device.index), torch.cuda.max_memory_reserved(device.index)
