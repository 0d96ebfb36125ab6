from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from core.data import Floats
from core.devices import Device, find_device
from core.progress import Telemetry, result_of
from profiling.latency import measure_latency
from profiling.machine import conditions
from profiling.memory import MemoryWatch, measure_memory
from profiling.telemetry import TelemetrySampler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
SIDE = 4096
X = np.ones((1, 1, SIDE, SIDE), np.float32)


class Product:
    """A session that multiplies x by a matrix it holds on the GPU."""

    def __init__(self) -> None:
        self.matrix = torch.ones(SIDE, SIDE, device="cuda")

    def run(self, x: Floats) -> Floats:
        product: Floats = (torch.tensor(x, device="cuda") @ self.matrix).cpu().numpy()
        return product

    def bind(self, x: Floats) -> Callable[[], None]:
        bound = torch.tensor(x, device="cuda")

        def infer() -> None:
            _ = bound @ self.matrix
            torch.cuda.synchronize()

        return infer


@pytest.fixture
def gpu() -> Device:
    return find_device("cuda:0")


def test_wall_time_is_the_gpus_own_time() -> None:
    session = Product()
    latency = result_of(measure_latency(session, X, seconds=1.0))
    bound, times = torch.tensor(X, device="cuda"), []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        _ = bound @ session.matrix
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    assert latency.p50_ms == pytest.approx(np.median(times), rel=0.25)


def test_peak_memory_counts_the_matrix_the_input_and_the_result(gpu: Device) -> None:
    matrix_bytes = 4 * SIDE * SIDE
    with MemoryWatch(gpu) as watch:
        held_before = torch.cuda.memory_allocated()
        memory = measure_memory(Product(), X, watch)
    peak = memory.peak_allocated_bytes - held_before
    assert 3 * matrix_bytes <= peak < 4 * matrix_bytes
    assert memory.peak_reserved_bytes >= memory.peak_allocated_bytes
    assert memory.device_used_bytes >= 3 * matrix_bytes
    assert memory.headline_bytes == memory.peak_allocated_bytes


def test_telemetry_of_a_busy_gpu(gpu: Device) -> None:
    infer, samples = Product().bind(X), list[Telemetry]()
    with TelemetrySampler(gpu, samples.append):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            infer()
    last = samples[-1]
    assert last.gpu_total_bytes == gpu.memory_bytes
    assert 0 < last.gpu_used_bytes < gpu.memory_bytes
    assert last.gpu_utilisation_percent > 50
    assert last.gpu_power_w > 20
    assert 10 < last.gpu_temperature_c < 110


def test_conditions_name_the_driver(gpu: Device) -> None:
    found = conditions(gpu, threads=1, seed=0)
    assert found.gpu_driver
    assert found.tf32 is True
    assert found.device_name == torch.cuda.get_device_name(0)
