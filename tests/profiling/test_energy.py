from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pynvml
import pytest
import scipy.stats
from pydantic import TypeAdapter

import profiling.energy
from core.data import Floats
from core.devices import Device, find_device
from core.progress import Metric, Progress, result_of
from profiling.energy import Energy, EnergyWindow, NotMeasured, measure_energy
from tests.profiling.clock import stop_clocks

GPU = Device("cuda:0", "cuda", "Test GPU", 80 << 30, (9, 0))
X = np.zeros((4, 1, 2, 2), np.float32)
IDLE_W = 100.0


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clocks(monkeypatch, __name__, (profiling.energy,))


class Board:
    """A GPU that draws 100 W, a session on it, and what each inference of 2 ms adds."""

    def __init__(self, nvml: Any, joules_per_call: float) -> None:
        self.calls, self._joules_per_call, self._started = 0, joules_per_call, time.perf_counter()
        nvml.answers["nvmlDeviceGetTotalEnergyConsumption"] = self._millijoules

    def _millijoules(self, _gpu: Any) -> int:
        idle = IDLE_W * (time.perf_counter() - self._started)
        return int(1000 * (idle + self._joules_per_call * self.calls))

    def run(self, x: Floats) -> Floats:
        return x

    def bind(self, x: Floats) -> Callable[[], None]:
        def infer() -> None:
            time.sleep(0.002)
            self.calls += 1

        return infer


def test_the_energy_of_an_inference_is_what_it_adds_to_idling(nvml: Any) -> None:
    board = Board(nvml, joules_per_call=0.5)
    energy = result_of(measure_energy(board, X, GPU, seconds=1.2))
    assert isinstance(energy, Energy)
    assert energy.joules_per_inference == pytest.approx(0.5, rel=1e-3)  # the counter's millijoules
    assert energy.joules_per_image == pytest.approx(0.125, rel=1e-3)
    assert energy.idle_w == pytest.approx(IDLE_W, rel=1e-3)
    assert energy.busy_w == pytest.approx(IDLE_W + 0.5 / 0.002, rel=1e-3)
    assert energy.seconds == pytest.approx(1.2, rel=1e-2)
    assert (energy.batch_size, len(energy.windows)) == (4, 6)
    assert energy.inferences < board.calls  # what settles the counter is not counted
    assert nvml.opened == 0
    assert "idle" in energy.source
    either: TypeAdapter[Energy | NotMeasured] = TypeAdapter(Energy | NotMeasured)
    assert either.validate_json(energy.model_dump_json()) == energy


def test_a_slow_listener_adds_no_energy(nvml: Any) -> None:
    steps, events = measure_energy(Board(nvml, joules_per_call=0.5), X, GPU, seconds=0.6), []
    try:
        while True:
            events.append(next(steps))
            time.sleep(0.1)
    except StopIteration as stop:
        energy = stop.value
    assert energy.seconds == pytest.approx(0.6, rel=0.02)
    assert energy.joules_per_inference == pytest.approx(0.5, rel=1e-3)
    assert {type(event) for event in events} == {Metric, Progress}


@pytest.mark.parametrize("joules_per_call", [0.0, -0.01])
def test_no_more_than_idling_is_not_a_figure(nvml: Any, joules_per_call: float) -> None:
    board = Board(nvml, 0)
    # Without idle power, so that no rounding lifts the net above zero.
    nvml.answers["nvmlDeviceGetTotalEnergyConsumption"] = lambda _gpu: int(1000 * joules_per_call * board.calls)
    found = result_of(measure_energy(board, X, GPU, seconds=0.3))
    assert isinstance(found, NotMeasured)
    assert "idle" in found.reason


def test_a_cpu_and_a_gpu_without_the_counter_say_why(nvml: Any) -> None:
    board = Board(nvml, 1.0)
    assert result_of(measure_energy(board, X, find_device("cpu"))) == NotMeasured(
        reason="A CPU has no NVML energy counter"
    )
    nvml.refuses["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError_NotSupported
    found = result_of(measure_energy(board, X, GPU))
    assert isinstance(found, NotMeasured)
    assert "does not report it" in found.reason
    assert nvml.opened == 0


def test_a_counter_that_falls_silent_ends_the_measurement_with_the_reason(nvml: Any) -> None:
    steps = measure_energy(Board(nvml, 1.0), X, GPU, seconds=0.3)
    next(steps)
    nvml.refuses["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError_Unknown
    found = result_of(steps)
    assert isinstance(found, NotMeasured)
    assert "stopped answering" in found.reason


def windows_of(joules: np.ndarray) -> Energy:
    """Windows of 2 s and 10 inferences on an idle power of 30 W."""
    windows = tuple(EnergyWindow(joules=60 + 10 * each, seconds=2, inferences=10) for each in joules)
    return Energy(batch_size=1, idle_w=30, windows=windows)


def test_the_interval_is_students_and_needs_five_windows() -> None:
    joules = np.random.default_rng(0).normal(2.0, 0.1, 8)
    energy = windows_of(joules)
    assert energy.joules_per_inference == pytest.approx(joules.mean())
    expected = scipy.stats.ttest_1samp(joules, 0).confidence_interval(0.95)
    assert energy.joules_per_inference_interval == pytest.approx((expected.low, expected.high))
    assert windows_of(joules[:4]).joules_per_inference_interval is None


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    intervals = [windows_of(generator.normal(2.0, 0.1, 6)).joules_per_inference_interval for _ in range(1000)]
    covered = sum(low <= 2.0 <= high for low, high in intervals)
    assert 929 <= covered <= 971  # 950 expected; three standard deviations either way
