from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import profiling.latency
import profiling.memory
import profiling.sweep
from core.data import Floats, InputContract
from core.devices import Device, find_device
from core.progress import Event, Metric, Progress, result_of
from profiling.latency import Latency
from profiling.sweep import (
    BatchPoint,
    Sweep,
    _left_to_container,
    _predicted_bytes,
    _why_stop,
    batches_of,
    is_out_of_memory,
    measure_sweep,
)
from tests.profiling.clock import stop_clocks

MIB = 1 << 20
GPU = Device("cuda:0", "cuda", "Test GPU", 80 << 30, (9, 0))


class Engine:
    """A session whose calls take a fixed time and some for each image, and that may fail from a batch on."""

    def __init__(self, fixed_ms: float, each_ms: float, *, full_from: int = 10**6, error: Exception | None = None):
        self._fixed_ms, self._each_ms, self._full_from, self._error = fixed_ms, each_ms, full_from, error
        self.largest = 0

    def run(self, x: Floats) -> Floats:
        if len(x) >= self._full_from and self._error:
            raise self._error
        self.largest = max(self.largest, len(x))
        time.sleep((self._fixed_ms + self._each_ms * len(x)) / 1000)
        return x

    def bind(self, x: Floats) -> Callable[[], None]:
        def infer() -> None:
            self.run(x)

        return infer


class Growing(Engine):
    """Keeps 40 MiB for each image of the largest batch it has seen: too large for the C library to keep for later."""

    def run(self, x: Floats) -> Floats:
        if len(x) > self.largest:
            self.kept = None  # or both would be held while the new one is made
            profiling.memory.return_free_memory(
                find_device("cpu")
            )  # some libraries tell the C library to keep what is freed
            self.kept = np.ones(40 * MIB * len(x), np.uint8)
        return super().run(x)


def batch_of(count: int) -> Floats:
    return np.zeros((count, 1, 2, 2), np.float32)


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clocks(monkeypatch, __name__, (profiling.sweep, profiling.latency))


@pytest.fixture(scope="module", autouse=True)
def _little_garbage() -> None:
    """Before each point garbage is collected; what other tests left need not be looked through each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def cpu() -> Device:
    return find_device("cpu")


def test_batches_double_until_two_doublings_bring_nothing(cpu: Device) -> None:
    events: list[Event] = []
    steps = measure_sweep(Engine(0, 4), batch_of, cpu, seconds=30)
    try:
        while True:
            events.append(next(steps))
    except StopIteration as stop:
        sweep = stop.value
    assert [point.batch_size for point in sweep.points] == [1, 2, 4]
    assert "less than 5 %" in sweep.stopped
    assert [(e.name, e.step) for e in events if isinstance(e, Metric)] == [("throughput_per_s", 2**i) for i in range(3)]
    assert sum(isinstance(event, Progress) for event in events) == 3
    assert Sweep.model_validate_json(sweep.model_dump_json()) == sweep


def test_while_throughput_grows_it_goes_on_to_the_largest_batch(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling.sweep, "LARGEST_BATCH", 8)
    sweep = result_of(measure_sweep(Engine(8, 0.5), batch_of, cpu, seconds=30))
    assert [point.batch_size for point in sweep.points] == [1, 2, 4, 8]
    assert "largest" in sweep.stopped
    assert sweep.best.batch_size == 8
    for point in sweep.points:
        assert point.p50_ms == pytest.approx(8 + 0.5 * point.batch_size)
        assert point.throughput_per_s == pytest.approx(1000 * point.batch_size / point.p50_ms)


def test_the_time_set_for_it_is_kept_and_one_point_is_always_there(cpu: Device) -> None:
    began = time.monotonic()
    sweep = result_of(measure_sweep(Engine(20, 20), batch_of, cpu, seconds=4))
    assert "time" in sweep.stopped
    assert len(sweep.points) == 3
    assert 3 < time.monotonic() - began <= 4
    assert len(result_of(measure_sweep(Engine(5, 5), batch_of, cpu, seconds=0)).points) == 1


class OutOfMemoryError(Exception):
    """What PyTorch's is called."""


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("std::bad_alloc")],
)
def test_a_batch_that_does_not_fit_ends_the_sweep_and_the_session_serves_on(cpu: Device, error: Exception) -> None:
    engine = Engine(8, 0.5, full_from=4, error=error)
    sweep = result_of(measure_sweep(engine, batch_of, cpu, seconds=30))
    assert [point.batch_size for point in sweep.points] == [1, 2]
    assert sweep.stopped == "A batch of 4 ran out of memory"
    assert len(engine.run(batch_of(2))) == 2


@pytest.mark.parametrize("error", [RuntimeError("Input shapes do not match"), ValueError("out of memory"), KeyError()])
def test_other_failures_are_not_taken_for_it(cpu: Device, error: Exception) -> None:
    with pytest.raises(type(error)):
        result_of(measure_sweep(Engine(8, 0.5, full_from=2, error=error), batch_of, cpu, seconds=30))


def test_a_single_image_that_does_not_fit_is_an_error(cpu: Device) -> None:
    with pytest.raises(MemoryError):
        result_of(measure_sweep(Engine(1, 1, full_from=1, error=MemoryError()), batch_of, cpu))


def test_onnx_runtimes_own_error_is_known(cpu: Device) -> None:
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    error = state.RuntimeException("BFCArena: Failed to allocate memory for requested buffer of size 9")
    assert is_out_of_memory(error)
    sweep = result_of(measure_sweep(Engine(8, 0.5, full_from=2, error=error), batch_of, cpu, seconds=30))
    assert sweep.stopped == "A batch of 2 ran out of memory"


def test_an_error_is_known_by_its_class_too() -> None:
    assert is_out_of_memory(OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("no kernel image is available for execution on the device"))


def test_growth_is_counted_and_a_batch_expected_to_take_too_much_is_not_tried(
    cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    result_of(measure_sweep(Engine(1, 0.1), batch_of, cpu, seconds=0))  # what it imports would count as growth
    monkeypatch.setattr(profiling.sweep, "_free_bytes", lambda _device: 450 * MIB)
    engine = Growing(8, 0.5)
    sweep = result_of(measure_sweep(engine, batch_of, cpu, seconds=30))
    assert "60% of the free memory" in sweep.stopped
    assert engine.largest == sweep.points[-1].batch_size == 4  # 8 images would take 320 MiB of the 270 allowed
    assert [point.growth_bytes for point in sweep.points] == pytest.approx([40 * MIB, 80 * MIB, 160 * MIB], rel=0.1)


def test_on_a_gpu_the_devices_memory_counts(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = nvml.answers["nvmlDeviceGetMemoryInfo"]

    class Device16(Engine):
        def run(self, x: Floats) -> Floats:
            memory.used = 3 * 1024 * MIB + 100 * MIB * len(x)
            return super().run(x)

    memory.total = memory.used + 1000 * MIB
    sweep = result_of(measure_sweep(Device16(8, 0.5), batch_of, GPU, seconds=30))
    assert [point.growth_bytes for point in sweep.points] == [100 * MIB, 200 * MIB, 400 * MIB]
    assert "free memory" in sweep.stopped  # 800 MiB of 1000
    assert nvml.opened == 0


def point(batch_size: int, throughput_per_s: float, growth_bytes: int | None = 0) -> BatchPoint:
    call_ms = 1000 * batch_size / throughput_per_s
    latency = Latency(batch_size=batch_size, blocks_ms=[[call_ms]], warmup_ms=1, first_call_ms=1, contended_share=None)
    return BatchPoint(latency=latency, growth_bytes=growth_bytes)


def points(*throughputs_per_s: float) -> list[BatchPoint]:
    return [point(2**number, each) for number, each in enumerate(throughputs_per_s)]


def test_small_gains_that_add_up_count() -> None:
    assert _why_stop(points(100, 104, 108), None, 1e9) is None
    assert _why_stop(points(100, 103, 104.9), None, 1e9) is not None
    assert _why_stop(points(100, 90, 106), None, 1e9) is None
    assert _why_stop(points(100, 200, 150, 205), None, 1e9) is not None


def test_the_next_batch_is_expected_to_take_as_much_more_an_image_as_the_last_doubling() -> None:
    fixed, each = 500, 30
    grown = [point(size, 1, fixed + each * size) for size in (1, 2, 4, 8)]
    for count in (2, 3, 4):
        assert _predicted_bytes(grown[:count]) == fixed + each * 2**count
    assert _predicted_bytes(grown[:1]) == 2 * (fixed + each)
    assert _predicted_bytes([point(1, 1, 10), point(2, 1, 8)]) == 8
    assert _predicted_bytes([point(1, 1, None)]) is None
    assert _why_stop([point(1, 1, None)], 1, 1e9) is None


def test_batches_are_real_images_repeated_where_there_are_fewer() -> None:
    contract = InputContract(1, 2, 2, (10.0,), (5.0,), ("a", "b"))
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
    make = batches_of(pixels, contract)
    np.testing.assert_array_equal(make(2), contract.prepare(pixels[:2]))
    np.testing.assert_array_equal(make(7), contract.prepare(pixels[[0, 1, 2, 0, 1, 2, 0]]))
    assert make(7).dtype == np.float32


def test_a_containers_limit_is_kept(tmp_path: Path) -> None:
    assert _left_to_container(tmp_path) == sys.maxsize
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert _left_to_container(tmp_path) == 700
    (tmp_path / "memory.max").write_text("max\n")
    assert _left_to_container(tmp_path) == sys.maxsize


def test_a_sweep_ends_at_the_largest_batch_that_the_engine_takes() -> None:
    assert _why_stop(points(100, 200, 400), None, 1e9, 8) is None
    assert _why_stop(points(100, 200, 400), None, 1e9, 7) == "The engine takes no more than 7 images at once"
