from __future__ import annotations

import time
from typing import Any

import psutil
import pynvml

from core.devices import Device, find_device
from core.progress import Telemetry
from profiling.telemetry import TelemetrySampler

GIB = 1 << 30
GPU = Device("cuda:0", "cuda", "Test GPU", 80 * GIB, (9, 0))


def collected(device: Device, seconds: float = 0.2) -> list[Telemetry]:
    samples: list[Telemetry] = []
    with TelemetrySampler(device, samples.append, period_seconds=0.02):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
    return samples


def test_a_busy_process_on_the_cpu() -> None:
    samples = collected(find_device("cpu"))
    assert len(samples) >= 3
    assert all(sample.gpu_used_bytes is None for sample in samples)
    assert abs(samples[-1].process_rss_bytes - psutil.Process().memory_info().rss) < 64 << 20
    assert max(sample.cpu_percent for sample in samples) > 20


def test_a_gpu_that_keeps_one_figure_to_itself(nvml: Any) -> None:
    nvml.refuses["nvmlDeviceGetPowerUsage"] = pynvml.NVMLError_NotSupported
    last = collected(GPU, 0.1)[-1]
    assert (last.gpu_used_bytes, last.gpu_total_bytes, last.gpu_utilisation_percent) == (3 * GIB, 80 * GIB, 42.0)
    assert (last.gpu_power_w, last.gpu_temperature_c) == (None, 55.0)
    assert nvml.opened == 0


def test_nothing_is_delivered_while_paused_or_after_the_end() -> None:
    samples: list[Telemetry] = []
    with TelemetrySampler(find_device("cpu"), samples.append, period_seconds=0.01) as sampler:
        time.sleep(0.2)
        sampler.pause()
        at_pause = len(samples)
        time.sleep(0.2)
        assert len(samples) == at_pause > 0
        sampler.resume()
        time.sleep(0.2)
    at_end = len(samples)
    assert at_end > at_pause
    time.sleep(0.1)
    assert len(samples) == at_end
