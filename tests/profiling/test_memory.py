from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.data import Floats
from core.devices import Device, find_device
from profiling.memory import Memory, MemoryWatch, measure_memory

GIB = 1 << 30
MIB = 1 << 20
X = np.zeros((8, 1, 2, 2), np.float32)
GPU = Device("cuda:0", "cuda", "Test GPU", 80 * GIB, (9, 0))


class Hungry:
    """A session that holds 64 MiB and takes another 128 MiB during each call."""

    def __init__(self) -> None:
        self.weights = np.ones(64 * MIB, np.uint8)

    def run(self, x: Floats) -> Floats:
        activations = np.ones(128 * MIB, np.uint8)
        return x + activations[0] * 0

    def bind(self, x: Floats) -> Callable[[], None]:
        return lambda: None


def test_a_process_grows_by_what_the_session_holds_and_needs_at_its_peak() -> None:
    threads = threading.active_count()
    with MemoryWatch(find_device("cpu")) as watch:
        assert threading.active_count() == threads + 1
        memory = measure_memory(Hungry(), X, watch)
        assert threading.active_count() == threads
    assert memory.batch_size == 8
    assert memory.process_delta_rss_bytes == pytest.approx(192 * MIB, rel=0.1)
    assert memory.process_peak_rss_bytes == memory.process_before_rss_bytes + memory.process_delta_rss_bytes
    assert (memory.peak_allocated_bytes, memory.device_used_bytes) == (None, None)
    assert (memory.headline_bytes, memory.headline_label) == (memory.process_delta_rss_bytes, "growth of the process")
    assert Memory.model_validate_json(memory.model_dump_json()) == memory


def test_a_gpus_memory_in_use_is_told_by_its_growth(nvml: Any) -> None:
    with MemoryWatch(GPU) as watch:
        nvml.answers["nvmlDeviceGetMemoryInfo"].used += 500 * MIB
        memory = watch.read(1)
    assert memory.device_used_bytes == 3 * GIB + 500 * MIB
    assert (memory.headline_bytes, memory.headline_label) == (500 * MIB, "growth of the GPU memory in use")


def test_what_pytorch_allocated_comes_first() -> None:
    memory = Memory(
        batch_size=1, process_before_rss_bytes=1, process_peak_rss_bytes=9, peak_allocated_bytes=5, device_used_bytes=7
    )
    assert (memory.headline_bytes, memory.headline_label) == (5, "peak allocated on the GPU")
