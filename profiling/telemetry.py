"""The machine while a run works: a few samples a second, except where time is measured."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import psutil

from core.devices import Device
from core.progress import Telemetry
from profiling.gpu import GpuSample, GpuSampler

PERIOD_SECONDS = 0.2


class TelemetrySampler:
    """Delivers a `Telemetry` to `deliver` about five times a second, from a thread of its own, while entered."""

    def __init__(
        self, device: Device, deliver: Callable[[Telemetry], None], *, period_seconds: float = PERIOD_SECONDS
    ) -> None:
        self._deliver, self._period_seconds = deliver, period_seconds
        self._gpu = GpuSampler(device.index) if device.kind == "cuda" else None
        self._process = psutil.Process()
        self._stack = ExitStack()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._is_paused = False

    def pause(self) -> None:
        """No sample is taken or delivered from the moment this returns."""
        with self._lock:
            self._is_paused = True

    def resume(self) -> None:
        """Go on sampling."""
        with self._lock:
            self._is_paused = False

    def __enter__(self) -> TelemetrySampler:
        if self._gpu:
            self._stack.enter_context(self._gpu)
        self._process.cpu_percent()  # the first answer is always 0: it has nothing to compare with
        thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._ended.set)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _work(self) -> None:
        while not self._ended.wait(self._period_seconds):
            with self._lock:
                if not self._is_paused:
                    self._deliver(sample_telemetry(self._process, self._gpu))


def sample_telemetry(process: psutil.Process, gpu: GpuSampler | None) -> Telemetry:
    """One sample of a process (this one or another) and, where given, of a GPU."""
    reading = gpu.sample() if gpu else GpuSample()
    return Telemetry(
        process_rss_bytes=process.memory_info().rss,
        cpu_percent=process.cpu_percent(),
        gpu_used_bytes=reading.used_bytes,
        gpu_total_bytes=reading.total_bytes,
        gpu_utilisation_percent=reading.utilisation_percent,
        gpu_power_w=reading.power_w,
        gpu_temperature_c=reading.temperature_c,
    )
