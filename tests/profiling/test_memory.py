from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pynvml
import pytest

import profiling.memory
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
        time.sleep(0.02)  # long enough to be seen, however busy the machine is
        return x + activations[0] * 0

    def bind(self, x: Floats) -> Callable[[], None]:
        return lambda: None


def watching() -> int:
    """How many threads do so."""
    return sum(thread.name == "memory" for thread in threading.enumerate())


def test_a_process_grows_by_what_the_session_holds_and_needs_at_its_peak() -> None:
    with MemoryWatch(find_device("cpu")) as watch:
        assert watching() == 1
        memory = measure_memory(Hungry(), X, watch)
        assert watching() == 0
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


def test_every_figure_is_listed_with_what_it_counts_in_order_of_what_it_includes(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling.memory, "_torch_peak", lambda _device: (100 * MIB, 150 * MIB))
    own = SimpleNamespace(pid=os.getpid(), usedGpuMemory=700 * MIB)
    nvml.answers["nvmlDeviceGetComputeRunningProcesses"] = [own]
    with MemoryWatch(GPU) as watch:
        nvml.answers["nvmlDeviceGetMemoryInfo"].used += 700 * MIB
        memory = watch.read(1)
    assert memory.process_device_bytes == 700 * MIB
    labels, values, meanings = zip(*memory.figures, strict=True)
    assert values[:5] == (100 * MIB, 150 * MIB, 700 * MIB, 3 * GIB + 700 * MIB, 700 * MIB)
    assert list(values[:4]) == sorted(values[:4])
    assert values[5:] == (memory.process_peak_rss_bytes, memory.process_delta_rss_bytes)
    assert len(set(labels)) == len(set(meanings)) == 7
    assert memory.reasons == {}
    assert nvml.opened == 0


def test_a_figure_that_a_gpu_does_not_tell_says_why(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling.memory, "_torch_peak", lambda _device: (None, None))
    nvml.refuses["nvmlDeviceGetMemoryInfo"] = pynvml.NVMLError_Unknown
    with MemoryWatch(GPU) as watch:
        memory = watch.read(1)
    said = {label: meaning for label, value, meaning in memory.figures if value is None}
    assert said == {
        "Peak allocated by PyTorch": "PyTorch has not used the GPU in this process",
        "Peak reserved by PyTorch": "PyTorch has not used the GPU in this process",
        "GPU memory of the process": "The driver's list of processes does not show this one (usual in containers)",
        "GPU memory in use": "The driver gave no answer (usual under WSL2)",
        "Growth of the GPU memory in use": "The driver gave no answer (usual under WSL2)",
    }
    assert Memory.model_validate_json(memory.model_dump_json()) == memory


def test_without_a_gpu_and_in_older_results_the_list_says_so() -> None:
    on_cpu = Memory(batch_size=1, process_before_rss_bytes=1, process_peak_rss_bytes=9)
    assert {meaning for _, value, meaning in on_cpu.figures if value is None} == {"No GPU took part"}
    stored = {"batch_size": 1, "process_before_rss_bytes": 1, "process_peak_rss_bytes": 9, "device_used_bytes": 7}
    older = {label: meaning for label, value, meaning in Memory.model_validate(stored).figures if value is None}
    assert older["GPU memory of the process"] == "Not recorded with this result"


def test_an_engine_that_bypasses_pytorch_is_not_judged_by_pytorchs_tensors(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Bypassing(Hungry):
        allocates_past_torch = True

    monkeypatch.setattr(profiling.memory, "_torch_peak", lambda _device: (MIB, 2 * MIB))
    for session, expected in ((Bypassing(), 500 * MIB), (Hungry(), MIB)):
        with MemoryWatch(GPU) as watch:
            nvml.answers["nvmlDeviceGetMemoryInfo"].used += 500 * MIB
            assert measure_memory(session, X, watch).headline_bytes == expected


def test_what_pytorch_allocated_comes_first() -> None:
    memory = Memory(
        batch_size=1, process_before_rss_bytes=1, process_peak_rss_bytes=9, peak_allocated_bytes=5, device_used_bytes=7
    )
    assert (memory.headline_bytes, memory.headline_label) == (5, "peak allocated on the GPU")
