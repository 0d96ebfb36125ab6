"""How throughput grows with the batch, up to where memory, time or the gain ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict

from core.data import Contract, Inputs, Stored
from core.devices import Device
from core.progress import Metric, Progress, Steps, result_of
from profiling.gpu import GpuSampler
from profiling.latency import Latency, measure_latency
from profiling.memory import Memory, MemoryWatch, return_free_memory
from profiling.statistics import Interval
from profiling.subject import Subject

LARGEST_BATCH = 256
SAFE_SHARE = 0.6
"""Of the memory that is free beforehand: what a batch may be expected to take."""
WORTHWHILE_GAIN = 1.05
POINT_SECONDS = 0.5
_CALLS_A_POINT = 8
"""Fewest calls that measuring a point takes: for memory, before timing, and timed."""
_FULL = ("out of memory", "allocate memory", "bad allocation", "bad_alloc", "not enough memory")


class BatchPoint(BaseModel):
    """One batch size."""

    model_config = ConfigDict(frozen=True)

    latency: Latency
    growth_bytes: int | None
    """Memory taken over what was in use before the sweep: the process's on a CPU, the device's on a GPU."""

    @property
    def batch_size(self) -> int:
        """Images at once."""
        return self.latency.batch_size

    @property
    def p50_ms(self) -> float:
        """The median call."""
        return self.latency.p50_ms

    @property
    def p50_interval_ms(self) -> Interval | None:
        """95 % interval; None when there was time for fewer than 6 blocks."""
        return self.latency.p50_interval_ms

    @property
    def throughput_per_s(self) -> float:
        """Images a second, one batch after the other."""
        return self.latency.throughput_per_s


class Sweep(BaseModel):
    """Batch sizes 1, 2, 4 and so on, in that order."""

    model_config = ConfigDict(frozen=True)

    points: tuple[BatchPoint, ...]
    stopped: str
    """One sentence on why no larger batch follows."""

    @property
    def best(self) -> BatchPoint:
        """The point of the highest throughput."""
        return max(self.points, key=lambda point: point.throughput_per_s)


def batches_of(pixels: Stored, contract: Contract) -> Callable[[int], Inputs]:
    """A function from N to x[N, C, H, W] of the first N images, repeated where there are fewer."""
    return lambda count: contract.prepare(np.resize(pixels[:count], (count, *contract.shape)))


def measure_sweep(
    session: Subject, batch_of: Callable[[int], Inputs], device: Device, *, seconds: float = 12.0
) -> Steps[Sweep]:
    """Time batches of 1, 2, 4 ... images from `batch_of`, each briefly, for about `seconds` in all.

    A batch that runs out of memory ends the sweep, and the session goes on serving; at a batch of 1 it is an error.
    """
    points: list[BatchPoint] = []
    began, room, largest = time.monotonic(), _Room(device), getattr(session, "largest_batch", LARGEST_BATCH)
    while not (stopped := _why_stop(points, room.free_bytes, began + seconds - time.monotonic(), largest)):
        size = 2 ** len(points)
        try:
            points.append(_measure_point(session, batch_of(size), room))
        except engine_errors() as error:
            if not points or not is_out_of_memory(error):
                raise
            stopped = f"A batch of {size} ran out of memory"
            break
        elapsed = min(seconds, time.monotonic() - began)
        yield Metric(name="throughput_per_s", value=points[-1].throughput_per_s, step=size)
        yield Progress(done=elapsed, total=seconds, unit="seconds", doing=f"timed a batch of {size}")
    return_free_memory(device)
    return Sweep(points=tuple(points), stopped=stopped)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an engine's error says that memory ran out: by its class or, where that says nothing, by its words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error).lower() for words in _FULL)


class _Room:
    """The memory there is, and how much of it is taken since."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._base_bytes: int | None = None
        self.free_bytes = _free_bytes(device)

    def growth_bytes(self, memory: Memory) -> int | None:
        if self._device.kind == "cpu":
            before, now = memory.process_before_rss_bytes, memory.process_peak_rss_bytes
        elif memory.device_used_bytes is None or memory.device_before_used_bytes is None:
            return None
        else:
            before, now = memory.device_before_used_bytes, memory.device_used_bytes
        self._base_bytes = before if self._base_bytes is None else self._base_bytes
        return max(0, now - self._base_bytes)

    def watch(self) -> MemoryWatch:
        return MemoryWatch(self._device)


def _measure_point(session: Subject, x: Inputs, room: _Room) -> BatchPoint:
    with room.watch() as watch:
        for _ in range(2):
            session.run(x)
        memory = watch.read(len(x))
    return BatchPoint(
        latency=result_of(measure_latency(session, x, seconds=POINT_SECONDS)), growth_bytes=room.growth_bytes(memory)
    )


def _why_stop(
    points: Sequence[BatchPoint], free_bytes: int | None, seconds_left: float, largest: int = LARGEST_BATCH
) -> str | None:
    if not points:
        return None
    size, p50_s = points[-1].batch_size, points[-1].p50_ms / 1000
    needed_bytes = _predicted_bytes(points)
    if size >= LARGEST_BATCH:
        return f"{size} is the largest batch that is tried"
    if 2 * size > largest:
        return f"The engine takes no more than {largest} images at once"
    if _is_flat(points):
        return "Doubling the batch twice brought less than 5 % more throughput"
    if needed_bytes is not None and free_bytes is not None and needed_bytes > SAFE_SHARE * free_bytes:
        return f"A batch of {2 * size} is expected to take more than {SAFE_SHARE:.0%} of the free memory"
    if 2 * p50_s * _CALLS_A_POINT > seconds_left:
        return "The time set for it was over"
    return None


def _predicted_bytes(points: Sequence[BatchPoint]) -> int | None:
    """What the next batch is expected to take: as much more an image as the last doubling took."""
    grown = [point.growth_bytes for point in points[-2:]]
    last, before = grown[-1], grown[0] if len(grown) > 1 else 0
    if last is None or before is None:
        return None
    return last + 2 * max(0, last - before) if len(grown) > 1 else 2 * last


def _is_flat(points: Sequence[BatchPoint]) -> bool:
    """Whether two doublings have passed since throughput last rose enough."""
    reference, since = points[0].throughput_per_s, 0
    for point in points[1:]:
        if point.throughput_per_s >= WORTHWHILE_GAIN * reference:
            reference, since = point.throughput_per_s, 0
        else:
            since += 1
    return since >= 2


def engine_errors() -> tuple[type[Exception], ...]:
    """What engines raise when they fail, for want of memory above all; those of ONNX Runtime derive from neither."""
    onnxruntime = sys.modules.get("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (onnxruntime.RuntimeException, onnxruntime.Fail) if onnxruntime else ()
    return (MemoryError, RuntimeError, *own)


def _free_bytes(device: Device) -> int | None:
    """Memory that may be taken; None where the driver does not tell."""
    if device.kind == "cpu":
        return min(psutil.virtual_memory().available, _left_to_container())
    with GpuSampler(device.index) as gpu:
        sample = gpu.sample()
    if sample.total_bytes is None or sample.used_bytes is None:
        return None
    return sample.total_bytes - sample.used_bytes


def _left_to_container(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """What a container's own limit leaves (cgroup v2), which the machine's free memory does not show."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return sys.maxsize
    return max(0, int(limit) - int(used)) if limit.isdecimal() else sys.maxsize
