"""The machine and one process on it at a moment, as a run's telemetry tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil

from core.devices import why_no_gpu
from core.gpu_visible import VISIBLE, nvml_index, why_hidden
from core.progress import Telemetry
from profiling.gpu import GpuSample, GpuSampler
from profiling.gpu_listing import GpuListing
from profiling.machine import cpu_mhz

T = TypeVar("T")

SLOW_SECONDS = 1.0
"""Between two looks at what takes longer to ask: clocks, counts of processes, children, who is on a GPU."""
_GPU_FIELDS = {
    "gpu_used_bytes": "used_bytes",
    "gpu_total_bytes": "total_bytes",
    "gpu_utilisation_percent": "utilisation_percent",
    "gpu_power_w": "power_w",
    "gpu_power_limit_w": "power_limit_w",
    "gpu_temperature_c": "temperature_c",
    "gpu_sm_clock_mhz": "sm_clock_mhz",
    "gpu_memory_clock_mhz": "memory_clock_mhz",
    "gpu_throttle_reasons": "throttle_reasons",
}
"""A GPU's fields in telemetry, and in a reading."""
_MACHINE_FIELDS = {
    "machine_cpu_percent": "cpu_percent",
    "machine_used_bytes": "used_bytes",
    "machine_total_bytes": "total_bytes",
}
"""The machine's fields in telemetry, and in a sample."""
_REFUSALS = (psutil.Error, OSError, RuntimeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What psutil and `/proc` answer with where a system, a container or a sandbox keeps a figure to itself."""


@dataclass(frozen=True)
class GpuState:
    """One GPU at a moment: its figures, and what changes seldom."""

    index: int
    """In NVML's order: the N of `cuda:N` unless CUDA_VISIBLE_DEVICES hides some."""
    reading: GpuSample
    listing: GpuListing


@dataclass(frozen=True)
class MachineSample:
    """The machine at a moment; None where the system does not tell."""

    at: float
    """Seconds since the epoch."""
    cpu_percent: float | None = None
    """Of all cores together: 100 means that all are busy."""
    core_percents: tuple[float, ...] = ()
    cpu_mhz: float | None = None
    load: tuple[float, float, float] | None = None
    """Threads that run or want to, averaged over the last 1, 5 and 15 minutes."""
    used_bytes: int | None = None
    """Memory that is not to be had, of all processes."""
    total_bytes: int | None = None
    swap_used_bytes: int | None = None
    swap_total_bytes: int | None = None
    process_count: int | None = None
    thread_count: int | None = None
    gpus: tuple[GpuState, ...] = ()
    gpu_absence: str | None = None
    """Why there is none."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """For each field that is None, one sentence on why."""


@dataclass(frozen=True)
class ProcessSample:
    """A process and its children at a moment; None where it has ended."""

    rss_bytes: int | None = None
    cpu_percent: float | None = None
    """Of one core: 200 means two cores busy."""
    thread_count: int | None = None


@dataclass(frozen=True)
class _Slow:
    """What a machine is asked once a second."""

    cpu_mhz: float | None
    process_count: int | None
    thread_count: int | None
    listings: tuple[GpuListing, ...]
    reasons: Mapping[str, str]


class MachineSampler:
    """Reads the machine and its GPUs. A context manager that holds NVIDIA's library open; for one thread."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._gpus: tuple[GpuSampler, ...] = ()
        self._gpu_absence: str | None = None
        self._slow: _Slow | None = None
        self._slow_at = 0.0

    def __enter__(self) -> MachineSampler:
        samplers = (GpuSampler(index, is_nvml_index=True) for index in range(_gpu_count()))
        self._gpus = tuple(self._stack.enter_context(each) for each in samplers)
        self._gpu_absence = None if self._gpus else why_no_gpu()
        _asked("cpu_percent", _core_percents, {})  # the first answer has nothing to compare with
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def sample(self) -> MachineSample:
        """One reading, a few milliseconds; processor time is that since the reading before."""
        slow = self._slow_figures()
        reasons = dict(slow.reasons)
        cores = _asked("cpu_percent", _core_percents, reasons)
        memory = _asked("used_bytes", psutil.virtual_memory, reasons)
        swap = _asked("swap_used_bytes", psutil.swap_memory, reasons)
        readings = zip(self._gpus, slow.listings, strict=True)
        return MachineSample(
            at=time.time(),
            cpu_percent=sum(cores) / len(cores) if cores else None,
            core_percents=cores or (),
            cpu_mhz=slow.cpu_mhz,
            load=_asked("load", psutil.getloadavg, reasons),
            used_bytes=memory and memory.total - memory.available,
            total_bytes=memory and memory.total,
            swap_used_bytes=swap and swap.used,
            swap_total_bytes=swap and swap.total,
            process_count=slow.process_count,
            thread_count=slow.thread_count,
            gpus=tuple(GpuState(gpu.index, gpu.sample(), listing) for gpu, listing in readings),
            gpu_absence=None if self._gpus else self._gpu_absence,
            reasons=_with_totals(reasons),
        )

    def _slow_figures(self) -> _Slow:
        now = time.monotonic()
        if self._slow is None or now - self._slow_at >= SLOW_SECONDS:
            self._slow, self._slow_at = self._ask_slowly(), now
        return self._slow

    def _ask_slowly(self) -> _Slow:
        reasons: dict[str, str] = {}
        clock = _asked("cpu_mhz", cpu_mhz, reasons)
        count = _asked("process_count", lambda: len(psutil.pids()), reasons)
        threads = _asked("thread_count", _thread_count, reasons)
        return _Slow(clock, count, threads, tuple(gpu.listing() for gpu in self._gpus), reasons)


class ProcessWatch:
    """Reads one process, its children included. Raises `psutil.Error` when it is made for one that has ended."""

    def __init__(self, pid: int) -> None:
        self._family = {pid: psutil.Process(pid)}
        self._head = self._family[pid]
        self._looked_at = 0.0
        self.sample()  # the first processor time has nothing to compare with

    @property
    def began_at(self) -> float:
        """When the process was started, seconds since the epoch."""
        return float(self._head.create_time())

    @property
    def visible_gpus(self) -> str | None:
        """What CUDA_VISIBLE_DEVICES was when it was started; None without, or where the system does not tell."""
        try:
            return self._head.environ().get(VISIBLE)
        except (psutil.Error, OSError):
            return None

    @property
    def is_alive(self) -> bool:
        """Whether that very process still lives; a zombie does not."""
        try:
            return bool(self._head.is_running() and self._head.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def sample(self) -> ProcessSample:
        """One reading; all None once it has ended. Processor time is that since the reading before."""
        self._look_for_children()
        sums: list[tuple[int, float, int]] = []
        for each in list(self._family.values()):
            try:
                with each.oneshot():
                    sums.append((each.memory_info().rss, each.cpu_percent(), each.num_threads()))
            except psutil.Error:
                del self._family[each.pid]
        if self._head.pid not in self._family:
            return ProcessSample()
        rss, cpu, threads = (sum(values) for values in zip(*sums, strict=True))
        return ProcessSample(int(rss), float(cpu), int(threads))

    def _look_for_children(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < SLOW_SECONDS:
            return
        self._looked_at = now
        try:
            for child in self._head.children(recursive=True):
                self._family.setdefault(child.pid, child)
        except psutil.Error:
            return


def telemetry_of(
    machine: MachineSample, process: ProcessSample, device: str, visible_gpus: str | None = None
) -> Telemetry:
    """What a run on that device (`cpu`, `cuda:N`) says of the machine and its process, reasons included.

    `visible_gpus` is the CUDA_VISIBLE_DEVICES of its process, under which it counts GPUs.
    """
    figures, reasons = _gpu_figures(machine, device, visible_gpus)
    reasons |= {name: machine.reasons[of] for name, of in _MACHINE_FIELDS.items() if of in machine.reasons}
    ended = dict.fromkeys(("process_rss_bytes", "cpu_percent", "process_threads"), "The run's process has ended")
    return Telemetry(
        at=machine.at,
        process_rss_bytes=process.rss_bytes,
        cpu_percent=process.cpu_percent,
        process_threads=process.thread_count,
        machine_cpu_percent=machine.cpu_percent,
        machine_used_bytes=machine.used_bytes,
        machine_total_bytes=machine.total_bytes,
        **figures,
        reasons=reasons if process.rss_bytes is not None else ended | reasons,
    )


def _gpu_figures(machine: MachineSample, device: str, visible: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Telemetry's fields of the run's GPU, and why some of them are missing; nothing of a run on the CPU."""
    if not device.startswith("cuda:"):
        return {}, {}
    number = int(device.partition(":")[2])
    index = nvml_index(number, visible) if machine.gpus else None
    gpu = next((each for each in machine.gpus if each.index == index), None)
    if gpu is None:
        hidden = f"The driver does not show {device}" if visible is None else why_hidden(number, visible)
        return {}, dict.fromkeys(_GPU_FIELDS, machine.gpu_absence or hidden)
    figures = {name: getattr(gpu.reading, of) for name, of in _GPU_FIELDS.items()}
    if len(gpu.listing.instances) == 1:  # the run has this slice, not the whole board
        slice_ = gpu.listing.instances[0]
        figures |= {"gpu_used_bytes": slice_.used_bytes, "gpu_total_bytes": slice_.total_bytes}
    unknown = "The driver does not tell the memory of this MIG instance"
    return figures, {
        name: gpu.reading.reasons.get(of, unknown) for name, of in _GPU_FIELDS.items() if figures[name] is None
    }


def machine_of(telemetry: Telemetry, device: str, reason: str) -> MachineSample:
    """What a run's telemetry tells of the machine; everything else is None for the reason given."""
    unknown = dict.fromkeys(("cpu_mhz", "load", "swap_used_bytes", "process_count", "thread_count"), reason)
    told = telemetry.reasons or {}
    figures = {of: getattr(telemetry, name) for name, of in _GPU_FIELDS.items()}
    missing = {of: told.get(name, reason) for name, of in _GPU_FIELDS.items() if figures[of] is None}
    listing = GpuListing(reasons=dict.fromkeys(("name", "driver", "is_mig", "processes"), reason))
    reading = GpuSample(**figures, reasons=missing | {"energy_mj": reason})
    number = int(device.partition(":")[2] or 0)
    return MachineSample(
        at=telemetry.at,
        cpu_percent=telemetry.machine_cpu_percent,
        used_bytes=telemetry.machine_used_bytes,
        total_bytes=telemetry.machine_total_bytes,
        gpus=(GpuState(number, reading, listing),) if device.startswith("cuda:") else (),
        gpu_absence=None if device.startswith("cuda:") else reason,
        reasons=unknown | {of: told[name] for name, of in _MACHINE_FIELDS.items() if name in told},
    )


def _gpu_count() -> int:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0
    finally:
        pynvml.nvmlShutdown()


def _core_percents() -> tuple[float, ...] | None:
    return tuple(psutil.cpu_percent(percpu=True)) or None


def _thread_count() -> int | None:
    """Of all processes together; counting them one by one would cost more than it tells."""
    counts = Path("/proc/loadavg")
    return int(counts.read_text().split()[3].partition("/")[2]) if counts.exists() else None


def _asked(name: str, ask: Callable[[], T | None], reasons: dict[str, str]) -> T | None:
    """The answer; None where there is none or the question is refused, and the reason under that name."""
    silent = {
        "cpu_mhz": "This system does not tell the CPU's clock",
        "thread_count": "Only Linux tells it without asking every process",
    }
    try:
        answer = ask()
    except _REFUSALS as error:
        reasons[name] = f"This system refused to tell it ({type(error).__name__}: {error})"
        return None
    if answer is None:
        reasons[name] = silent.get(name, "This system does not tell it")
    return answer


def _with_totals(reasons: Mapping[str, str]) -> dict[str, str]:
    """Totals are asked for together with what is in use."""
    totals = {"used_bytes": "total_bytes", "swap_used_bytes": "swap_total_bytes"}
    return {**reasons, **{total: reasons[used] for used, total in totals.items() if used in reasons}}
