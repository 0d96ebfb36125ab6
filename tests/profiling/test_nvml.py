"""Machines with and without GPUs, as NVIDIA's library itself would answer: everything that asks it, through pynvml."""

from __future__ import annotations

import os
import time

import pynvml
import pytest

import profiling.gpu
from core.devices import find_device, list_devices, why_no_gpu
from core.errors import Unavailable
from core.progress import Telemetry
from profiling.gpu import GpuSampler
from profiling.gpu_listing import GpuProcess, MigInstance
from profiling.telemetry import MachineSampler, ProcessSample, machine_of, telemetry_of
from tests.profiling.fake_nvml import GIB, FakeGpu, FakeLibrary, installed, mig_gpu, wsl_gpu

OURS = ProcessSample(rss_bytes=GIB, cpu_percent=150.0, thread_count=8)
GPU_FIELDS = {name for name in Telemetry.model_fields if name.startswith("gpu_")}


def told(library: FakeLibrary | None, device: str = "cuda:0", visible: str | None = None) -> Telemetry:
    """What a run on that device would write."""
    with installed(library), MachineSampler() as machine:
        return telemetry_of(machine.sample(), OURS, device, visible)


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (None, "NVML Shared Library Not Found"),
        (FakeLibrary(init=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), "Driver Not Loaded"),
        (FakeLibrary(init=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH), "version mismatch"),
        (FakeLibrary(), "shows no device"),
    ],
)
def test_without_a_gpu_everybody_says_why(library: FakeLibrary | None, words: str) -> None:
    with installed(library) as opened:
        assert [device.id for device in list_devices()] == ["cpu"]
        assert words in why_no_gpu()
        with pytest.raises(Unavailable, match="cuda:0 is not on this machine"):
            find_device("cuda:0")
        with MachineSampler() as machine:
            sample = machine.sample()
        assert (sample.gpus, sample.gpu_absence) == ((), why_no_gpu())
        assert opened.opened == 0
    assert all(words in reason for reason in told(library).reasons.values())
    assert set(told(library).reasons) == GPU_FIELDS
    assert told(library, "cpu").reasons == {}


def test_one_gpu() -> None:
    gpu = FakeGpu(processes={os.getpid(): GIB, 77: None}, clock_events=pynvml.nvmlClocksEventReasonSwPowerCap)
    with installed(FakeLibrary([gpu])) as library:
        device = find_device("cuda:0")
        assert (device.name, device.memory_bytes, device.compute_capability) == ("NVIDIA Test GPU", 80 * GIB, (9, 0))
        with MachineSampler() as machine:
            listing = machine.sample().gpus[0].listing
        assert library.opened == 0
    assert (listing.name, listing.driver, listing.is_mig) == ("NVIDIA Test GPU", "580.65.06", False)
    assert set(listing.processes) == {GpuProcess(os.getpid(), GIB), GpuProcess(77, None)}
    told_by_run = told(FakeLibrary([gpu]))
    figures = {name: getattr(told_by_run, name) for name in GPU_FIELDS}
    assert figures == {
        "gpu_used_bytes": 3 * GIB,
        "gpu_total_bytes": 80 * GIB,
        "gpu_utilisation_percent": 42.0,
        "gpu_power_w": 123.456,
        "gpu_power_limit_w": 700.0,
        "gpu_temperature_c": 55.0,
        "gpu_sm_clock_mhz": 1980,
        "gpu_memory_clock_mhz": 3201,
        "gpu_throttle_reasons": ("power cap",),
    }
    assert told_by_run.reasons == {}


def test_of_several_gpus_a_run_is_told_its_own() -> None:
    library = FakeLibrary([FakeGpu("A", used_bytes=GIB), FakeGpu("B", used_bytes=2 * GIB, utilisation=99)])
    with installed(library):
        assert [device.name for device in list_devices()][1:] == ["A", "B"]
    assert (told(library, "cuda:0").gpu_used_bytes, told(library, "cuda:1").gpu_used_bytes) == (GIB, 2 * GIB)
    assert told(library, "cuda:1").gpu_utilisation_percent == 99.0
    assert "does not show cuda:2" in told(library, "cuda:2").reasons["gpu_power_w"]


@pytest.mark.parametrize(
    ("visible", "device", "used_gib"),
    [
        ("1", "cuda:0", 2),
        ("2,0", "cuda:0", 3),
        ("2, 0", "cuda:1", 1),
        ("GPU-bb", "cuda:0", 2),
        ("MIG-1", "cuda:0", 3),
        ("MIG-GPU-cc/7/0", "cuda:0", 3),
        ("1", "cuda:1", None),
        ("0,-1,1", "cuda:1", None),
        ("", "cuda:0", None),
        ("GPU-dd", "cuda:0", None),
    ],
)
def test_a_run_is_told_of_the_gpu_that_its_process_sees(visible: str, device: str, used_gib: int | None) -> None:
    divided = mig_gpu(GIB, 2 * GIB)
    divided.uuid = "GPU-cccc"
    library = FakeLibrary(
        [FakeGpu(used_bytes=GIB, uuid="GPU-aaaa"), FakeGpu(used_bytes=2 * GIB, uuid="GPU-bbbb"), divided]
    )
    taken = told(library, device, visible)
    assert taken.gpu_used_bytes == (used_gib and used_gib * GIB)
    assert used_gib or f"CUDA_VISIBLE_DEVICES is {visible!r}" in taken.reasons["gpu_used_bytes"]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["B"]),
        ("2,0", ["C", "A"]),
        ("GPU-b,0", ["B", "A"]),
        ("1,-1,0", ["B"]),
        ("0,7,1", ["A"]),
        ("", []),
        ("-1", []),
    ],
)
def test_devices_are_counted_as_cuda_counts_them(
    visible: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with installed(FakeLibrary([FakeGpu(name, uuid=f"GPU-{name.lower()}") for name in "ABC"])) as library:
        found = list_devices()[1:]
        assert [(each.id, each.name) for each in found] == [(f"cuda:{n}", name) for n, name in enumerate(names)]
        hidden = f"CUDA_VISIBLE_DEVICES is {visible!r}, which hides all that the driver shows, 3 in number"
        assert why_no_gpu() == (None if names else f"No NVIDIA GPU is in use: {hidden}")
        assert library.opened == 0


def test_a_sampler_reads_the_gpu_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with installed(FakeLibrary([FakeGpu(power_mw=1000), FakeGpu(power_mw=2000)])) as library:
        with GpuSampler(0) as seen, GpuSampler(1) as hidden, MachineSampler() as machine:
            assert seen.sample().power_w == 2
            assert "CUDA_VISIBLE_DEVICES" in hidden.sample().reasons["power_w"]
            assert [gpu.reading.power_w for gpu in machine.sample().gpus] == [1, 2]
        assert library.opened == 0


def test_a_divided_gpu_tells_the_memory_of_its_instances_and_nothing_else_of_them() -> None:
    with installed(FakeLibrary([mig_gpu(GIB, 2 * GIB)])), MachineSampler() as machine:
        listing = machine.sample().gpus[0].listing
    name = "NVIDIA Test GPU MIG 1g.10gb"
    assert listing.is_mig
    assert listing.instances == (MigInstance(name, GIB, 10 * GIB), MigInstance(name, 2 * GIB, 10 * GIB))
    whole, slice_ = (told(FakeLibrary([mig_gpu(*used)])) for used in ((GIB, 2 * GIB), (GIB,)))
    assert (whole.gpu_used_bytes, whole.gpu_total_bytes) == (3 * GIB, 80 * GIB)
    assert (slice_.gpu_used_bytes, slice_.gpu_total_bytes) == (GIB, 10 * GIB)
    for each in (whole, slice_):
        assert each.gpu_utilisation_percent is None
        assert "MIG" in each.reasons["gpu_utilisation_percent"]


def test_under_wsl2_what_is_unknown_says_so_and_the_rest_is_told() -> None:
    taken = told(FakeLibrary([wsl_gpu()]))
    missing = {name for name in GPU_FIELDS if getattr(taken, name) is None}
    assert (taken.gpu_used_bytes, taken.gpu_temperature_c) == (3 * GIB, 55.0)
    assert missing == set(taken.reasons) >= {"gpu_power_w", "gpu_sm_clock_mhz", "gpu_throttle_reasons"}
    assert all("WSL2" in reason for reason in taken.reasons.values())
    with installed(FakeLibrary([wsl_gpu()])), GpuSampler(0) as gpu:
        assert gpu.listing().processes is None
        assert "WSL2" in gpu.listing().reasons["processes"]


def test_in_a_container_the_hosts_numbers_lead_to_no_names_and_no_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling.gpu, "_numbers_are_the_hosts", lambda: False)
    library = FakeLibrary([FakeGpu(processes={os.getpid(): 0, 4_000_001: 2 * GIB})])
    with installed(library), GpuSampler(0) as gpu:
        assert gpu.processes().foreign_count is None
        listing = gpu.listing()
    assert not listing.names_are_known
    assert GpuProcess(4_000_001, 2 * GIB) in listing.processes
    assert GpuProcess(os.getpid(), None) in listing.processes


def test_a_gpu_that_disappears_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling.gpu, "REOPEN_SECONDS", 0.05)
    lost, other = FakeGpu("A"), FakeGpu("B", used_bytes=2 * GIB)
    with installed(FakeLibrary([lost, other])) as library, MachineSampler() as machine:
        assert machine.sample().gpus[0].reading.used_bytes == 3 * GIB
        lost.is_lost = True
        for _ in range(3):
            first, second = machine.sample().gpus
            assert first.reading.used_bytes is None
            assert "gone" in first.reading.reasons["used_bytes"]
            assert second.reading.used_bytes == 2 * GIB
        assert [device.name for device in list_devices()][1:] == ["B"]
        lost.is_lost = False
        time.sleep(0.06)
        assert machine.sample().gpus[0].reading.used_bytes == 3 * GIB
    assert library.opened == 0


def test_a_lost_gpu_is_not_asked_for_at_every_reading() -> None:
    gpu = FakeGpu()
    with installed(FakeLibrary([gpu])) as library, GpuSampler(0) as sampler:
        gpu.is_lost = True
        sampler.sample()
        library.calls.clear()
        reading = sampler.sample()
    assert reading.power_w is None
    assert library.calls == []


def test_a_driver_of_before_a_function_says_that_it_is_too_old() -> None:
    library = FakeLibrary([FakeGpu()])
    del library._entries["nvmlDeviceGetTotalEnergyConsumption"]
    with installed(library), GpuSampler(0) as gpu:
        assert "too old" in gpu.sample().reasons["energy_mj"]


def test_telemetry_of_another_process_gives_the_machine_back() -> None:
    with installed(FakeLibrary([wsl_gpu()])), MachineSampler() as machine:
        sample = machine.sample()
        again = machine_of(telemetry_of(sample, OURS, "cuda:0"), "cuda:0", "Not handed on")
    assert (again.at, again.cpu_percent, again.used_bytes) == (sample.at, sample.cpu_percent, sample.used_bytes)
    assert again.gpus[0].reading.used_bytes == 3 * GIB
    assert "WSL2" in again.gpus[0].reading.reasons["power_w"]
    assert again.reasons["load"] == "Not handed on"
