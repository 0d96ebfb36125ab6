from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

import profiling.latency
from core.data import Floats
from core.progress import Metric, Progress, result_of
from profiling.latency import BLOCK_MS, WARMUP_MS, Latency, measure_latency
from tests.profiling.clock import Clock, stop_clocks

X = np.zeros((4, 1, 2, 2), np.float32)


class Sleeper:
    """A session whose calls take a known time; the first takes a hundred times as long."""

    def __init__(self, call_ms: float) -> None:
        self.call_ms, self.calls, self.saw_gc = call_ms, 0, False

    def run(self, x: Floats) -> Floats:
        return x

    def bind(self, x: Floats) -> Callable[[], None]:
        def infer() -> None:
            time.sleep(self.call_ms * (100 if self.calls == 0 else 1) / 1000)
            self.calls += 1
            self.saw_gc |= gc.isenabled() and self.calls > 1

        return infer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Only by it does time pass, in what is measured and in what measures."""
    return stop_clocks(monkeypatch, __name__, (profiling.latency,))


@pytest.mark.usefixtures("clock")
def test_a_known_duration_is_measured_and_the_first_call_is_kept_apart() -> None:
    latency = result_of(measure_latency(Sleeper(5.0), X, seconds=1.5))
    assert latency.batch_size == 4
    assert latency.first_call_ms == 500
    assert latency.warmup_ms == 500 + WARMUP_MS
    assert set(latency.samples_ms) == {5.0} == {latency.p50_ms}
    assert latency.throughput_per_s == pytest.approx(800)
    assert all(sum(block) == BLOCK_MS for block in latency.blocks_ms)


def test_by_a_real_clock_no_call_is_shorter_than_it_was_and_all_are_in_the_time_that_passed() -> None:
    began = time.perf_counter()
    latency = result_of(measure_latency(Sleeper(1.0), X, seconds=0.1))
    passed_ms = 1000 * (time.perf_counter() - began)
    assert min(latency.samples_ms) >= 1.0
    assert latency.first_call_ms >= 100
    assert latency.warmup_ms >= WARMUP_MS + 100
    assert latency.warmup_ms + sum(latency.samples_ms) <= passed_ms


@pytest.mark.usefixtures("clock")
def test_events_come_between_blocks_and_a_slow_listener_is_not_timed() -> None:
    steps, events = measure_latency(Sleeper(2.0), X, seconds=1.5), []
    try:
        while True:
            events.append(next(steps))
            time.sleep(0.3)
    except StopIteration as stop:
        latency = stop.value
    assert set(latency.samples_ms) == {2.0}
    assert all(event.name == "latency_ms" for event in events if isinstance(event, Metric))
    assert {type(event) for event in events} == {Metric, Progress}


@pytest.mark.usefixtures("clock")
def test_garbage_collection_is_off_in_timed_blocks_and_on_again_after() -> None:
    session = Sleeper(1.0)
    result = result_of(measure_latency(session, X, seconds=0.2))
    assert gc.isenabled()
    assert not session.saw_gc
    assert len(result.samples_ms)


@pytest.mark.usefixtures("clock")
def test_time_is_up_even_when_one_call_takes_longer() -> None:
    latency = result_of(measure_latency(Sleeper(80.0), X, seconds=0.05))
    assert latency.samples_ms.tolist() == [80.0]
    assert latency.p95_ms is None
    assert latency.p99_ms is None


def blocks(*values: tuple[float, ...]) -> Latency:
    return Latency(batch_size=2, blocks_ms=values, warmup_ms=300, first_call_ms=1, contended_share=None)


def test_statistics_are_derived_from_every_sample_and_survive_json() -> None:
    samples = np.random.default_rng(0).lognormal(size=(20, 25)).round(4)
    latency = blocks(*map(tuple, samples.tolist()))
    again = Latency.model_validate_json(latency.model_dump_json())
    assert again == latency
    assert again.p50_ms == pytest.approx(np.percentile(samples, 50))
    assert again.p90_ms == pytest.approx(np.percentile(samples, 90))
    assert again.p95_ms == pytest.approx(np.percentile(samples, 95))
    assert again.p99_ms == pytest.approx(np.percentile(samples, 99))
    assert again.spread == pytest.approx(np.subtract(*np.percentile(samples, [75, 25])) / np.median(samples))
    low, high = again.p50_interval_ms
    assert low < again.p50_ms < high


def test_the_interval_of_the_median_holds_the_median_however_uneven_the_blocks() -> None:
    """Slow blocks have few calls: the median of all calls is not that of the blocks' medians."""
    latency = blocks(*[(1.0, 1.01) * 30] * 5, *[(6.0, 6.1)] * 9)
    low, high = latency.p50_interval_ms
    assert low <= latency.p50_ms <= high


def test_the_median_has_no_interval_below_six_blocks() -> None:
    assert blocks(*[(1.0, 1.1)] * 5).p50_interval_ms is None
    assert blocks(*[(1.0, 1.1)] * 6).p50_interval_ms is not None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux's scheduler statistics")
def test_other_work_on_the_same_core_is_flagged() -> None:
    class Busy(Sleeper):
        def bind(self, x: Floats) -> Callable[[], None]:
            def infer() -> None:
                end = time.thread_time() + 0.002
                while time.thread_time() < end:
                    pass

            return infer

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    rival = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        rival.stdout.readline()  # it has begun
        latency = result_of(measure_latency(Busy(0), X, seconds=0.6))
    finally:
        rival.kill()
        rival.communicate()
        os.sched_setaffinity(0, cores)
    if latency.contended_share is None:
        pytest.skip("this kernel keeps no scheduler statistics")
    assert latency.is_contended
    assert 0.25 < latency.contended_share < 1  # half with this rival alone, more on a busy machine
