from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from core.data import Floats
from core.devices import Device, find_device
from core.gpu_visible import nvml_index
from core.progress import result_of
from profiling.energy import Energy, measure_energy
from profiling.gpu import THROTTLE_REASONS, GpuSampler, driver_version
from profiling.latency import measure_latency
from profiling.machine import conditions
from profiling.memory import MemoryWatch, measure_memory
from profiling.surroundings import SurroundingsWatch
from profiling.sweep import measure_sweep
from profiling.telemetry import MachineSampler, ProcessWatch, telemetry_of

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
    infer, process, took_ms = Product().bind(X), ProcessWatch(os.getpid()), []
    with MachineSampler() as machine:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for _ in range(20):
                infer()
            began = time.perf_counter()
            sample = machine.sample()
            took_ms.append(1000 * (time.perf_counter() - began))
    last = telemetry_of(sample, process.sample(), gpu.id)
    assert last.gpu_total_bytes == gpu.memory_bytes
    assert 0 < last.gpu_used_bytes < gpu.memory_bytes
    assert last.gpu_utilisation_percent > 50
    assert last.gpu_power_w > 20
    assert 10 < last.gpu_temperature_c < 110
    assert np.median(took_ms) < 20
    missing = {name for name in last.model_fields_set if name != "reasons" and getattr(last, name) is None}
    assert missing == set(last.reasons)


def test_a_gpu_has_a_name_a_driver_and_a_list_of_processes_or_says_why(gpu: Device) -> None:
    Product().bind(X)()
    with GpuSampler(gpu.index) as sampler:
        listing = sampler.listing()
    assert listing.name == torch.cuda.get_device_name(gpu.index)
    assert listing.driver == driver_version()
    if listing.processes is None:
        assert listing.reasons["processes"]
    elif listing.names_are_known:
        assert os.getpid() in {each.pid for each in listing.processes}


def test_a_gpu_is_found_by_its_uuid_as_cuda_finds_it(gpu: Device) -> None:
    """torch counts what CUDA_VISIBLE_DEVICES left it; a UUID of its properties has to lead to the same GPU."""
    uuid = "GPU-" + str(torch.cuda.get_device_properties(gpu.index).uuid).removeprefix("GPU-")
    with GpuSampler(gpu.index) as sampler:
        total_bytes = sampler.sample().total_bytes
        for name in (uuid, uuid[:16]):
            with GpuSampler(nvml_index(0, name), is_nvml_index=True) as named:
                assert named.listing().name == sampler.listing().name
                assert named.sample().total_bytes == total_bytes


def test_conditions_name_the_driver(gpu: Device) -> None:
    found = conditions(gpu, threads=1, seed=0)
    assert found.gpu_driver
    assert found.tf32 is True
    assert found.device_name == torch.cuda.get_device_name(0)
    assert 100 < found.gpu_sm_clock_mhz < 5000
    assert 100 < found.gpu_memory_clock_mhz < 20_000
    assert found.gpu_power_limit_w > 20


def test_every_figure_is_told_or_says_why(gpu: Device) -> None:
    Product().bind(X)()
    with GpuSampler(gpu.index) as sampler:
        sample, processes = sampler.sample(), sampler.processes()
    for reading in (sample, processes):
        missing = {name for name, value in vars(reading).items() if value is None}
        assert missing == set(reading.reasons)
        assert all(reading.reasons.values())
    assert set(sample.throttle_reasons or ()) <= set(THROTTLE_REASONS.values())


def test_this_process_holds_at_least_what_pytorch_does(gpu: Device) -> None:
    session = Product()
    session.bind(X)()
    with GpuSampler(gpu.index) as sampler:
        processes = sampler.processes()
    if processes.own_bytes is None:
        pytest.skip(processes.reasons["own_bytes"])
    assert torch.cuda.memory_reserved(gpu.index) <= processes.own_bytes < gpu.memory_bytes
    assert processes.foreign_count >= 0


def test_the_energy_counter_agrees_with_the_power_reading(gpu: Device) -> None:
    session = Product()
    infer = session.bind(X)
    energy = result_of(measure_energy(session, X, gpu, seconds=3.0))
    if not isinstance(energy, Energy):
        pytest.skip(energy.reason)
    watts = []
    with GpuSampler(gpu.index) as sampler:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            for _ in range(20):
                infer()
            watts.append(sampler.sample().power_w)
    assert energy.busy_w == pytest.approx(np.median(watts[len(watts) // 2 :]), rel=0.2)
    low, high = energy.joules_per_inference_interval
    assert 0 < low < energy.joules_per_inference < high
    assert energy.idle_w < energy.busy_w


def test_surroundings_of_work_on_the_gpu(gpu: Device) -> None:
    infer = Product().bind(X)
    with SurroundingsWatch(gpu) as watch:
        for _ in range(200):
            infer()
        seen = watch.read()
    assert len(seen.sm_clocks_mhz) == len(seen.temperatures_c) == 2
    assert min(seen.sm_clocks_mhz) > 0
    assert seen.foreign_processes is not None or seen.reasons["foreign_processes"]


def test_a_batch_that_does_not_fit_ends_the_sweep_and_memory_comes_back(gpu: Device) -> None:
    image_bytes = 256 << 20

    class Hungry(Product):
        """Takes 256 MiB for each image and the same time for any batch, so that only memory ends the sweep."""

        def run(self, x: Floats) -> Floats:
            torch.empty(len(x) * image_bytes, dtype=torch.uint8, device="cuda")
            time.sleep(0.01)
            return x

        def bind(self, x: Floats) -> Callable[[], None]:
            def infer() -> None:
                self.run(x)

            return infer

    session, before = Hungry(), torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((before + 5 * image_bytes) / gpu.memory_bytes)
    try:
        sweep = result_of(measure_sweep(session, lambda n: np.zeros((n, 1, 2, 2), np.float32), gpu, seconds=60))
        assert torch.cuda.memory_reserved() <= before
        session.run(X)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert sweep.stopped == "A batch of 8 ran out of memory"
    for point in sweep.points:
        assert point.growth_bytes == pytest.approx(point.batch_size * image_bytes, rel=0.2)
