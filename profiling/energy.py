"""What one inference costs in energy, by the counter that NVIDIA's newer GPUs keep."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from core.data import Inputs
from core.devices import Device
from core.errors import Unavailable
from core.progress import Metric, Progress, Steps
from profiling.gpu import GpuSampler
from profiling.statistics import Interval
from profiling.subject import Subject

IDLE_SECONDS = 1.0
SETTLE_SECONDS = 0.2
"""The counter follows the sensor by up to a tenth of a second: what came before has to leave it first."""
WINDOWS = 6
_NO_COUNTER = "A CPU has no NVML energy counter"


class NotMeasured(BaseModel):
    """Why there is no figure."""

    model_config = ConfigDict(frozen=True)

    reason: str
    """One sentence."""


class EnergyWindow(BaseModel):
    """A stretch of inferences, one after the other."""

    model_config = ConfigDict(frozen=True)

    joules: float
    """Growth of the counter: the whole board, idle power included."""
    seconds: float
    inferences: int


class Energy(BaseModel):
    """The energy of the whole GPU board over inferences on one batch, idle power measured beforehand."""

    model_config = ConfigDict(frozen=True)

    batch_size: int
    idle_w: float
    """With the artifact open and nothing running."""
    windows: tuple[EnergyWindow, ...]

    @property
    def seconds(self) -> float:
        """How long inferences were repeated."""
        return sum(window.seconds for window in self.windows)

    @property
    def inferences(self) -> int:
        """How often; each on a whole batch."""
        return sum(window.inferences for window in self.windows)

    @property
    def busy_w(self) -> float:
        """The board's mean power meanwhile, idle power included."""
        return sum(window.joules for window in self.windows) / self.seconds

    @property
    def joules_per_inference(self) -> float:
        """Above idle, for a whole batch."""
        return (self.busy_w - self.idle_w) * self.seconds / self.inferences

    @property
    def joules_per_image(self) -> float:
        """Above idle."""
        return self.joules_per_inference / self.batch_size

    @property
    def joules_per_inference_interval(self) -> Interval | None:
        """95 % by Student's t over the windows, taking idle power as exact; None below 5 windows."""
        if len(self.windows) < 5:
            return None
        from scipy.stats import t

        each = [(window.joules - self.idle_w * window.seconds) / window.inferences for window in self.windows]
        half = float(t.ppf(0.975, len(each) - 1)) * statistics.stdev(each) / len(each) ** 0.5
        return self.joules_per_inference - half, self.joules_per_inference + half

    @property
    def source(self) -> str:
        """One sentence on where the figure comes from."""
        return (
            f"NVML's energy counter of the whole board over {self.seconds:.1f} s, less {self.idle_w:.0f} W of idle "
            "power; host and cooling are not in it"
        )


def measure_energy(session: Subject, x: Inputs, device: Device, *, seconds: float = 3.0) -> Steps[Energy | NotMeasured]:
    """Idle for a second, then repeat inference on x[N, C, H, W] for `seconds`, in six windows.

    The power sensor looks only a part of the time on some GPUs, so a single inference tells nothing. What else uses the
    GPU is counted too. Without a counter, or when the net energy is not positive, the reason is returned instead.
    """
    if device.kind == "cpu":
        return NotMeasured(reason=_NO_COUNTER)
    infer = session.bind(x)
    with GpuSampler(device.index) as gpu:
        sample = gpu.sample()
        if sample.energy_mj is None:
            return NotMeasured(reason=sample.reasons["energy_mj"])
        yield Progress(done=0, total=seconds, unit="seconds", doing="measuring the idle power")
        try:
            idle = _window(gpu, lambda: _rest(IDLE_SECONDS), settle=lambda: _rest(SETTLE_SECONDS))
            windows = yield from _busy_windows(infer, gpu, seconds)
        except Unavailable as error:
            return NotMeasured(reason=str(error))
    energy = Energy(batch_size=len(x), idle_w=idle.joules / idle.seconds, windows=windows)
    return energy if energy.joules_per_inference > 0 else NotMeasured(reason=_no_more_than_idle(energy))


def _busy_windows(infer: Callable[[], None], gpu: GpuSampler, seconds: float) -> Steps[tuple[EnergyWindow, ...]]:
    windows: list[EnergyWindow] = []
    for number in range(1, WINDOWS + 1):
        window = _window(gpu, lambda: _repeat(infer, seconds / WINDOWS), settle=lambda: _repeat(infer, SETTLE_SECONDS))
        windows.append(window)
        yield Metric(name="power_w", value=window.joules / window.seconds, step=number)
        yield Progress(done=seconds * number / WINDOWS, total=seconds, unit="seconds", doing="measuring energy")
    return tuple(windows)


def _window(gpu: GpuSampler, work: Callable[[], int], *, settle: Callable[[], int]) -> EnergyWindow:
    """What the counter says of some work that tells how many inferences it made, after the same for a moment."""
    settle()
    energy_before, before = _counted_joules(gpu), time.perf_counter()
    inferences = work()
    energy_after, after = _counted_joules(gpu), time.perf_counter()
    return EnergyWindow(joules=energy_after - energy_before, seconds=after - before, inferences=inferences)


def _counted_joules(gpu: GpuSampler) -> float:
    energy_mj = gpu.energy_mj()
    if energy_mj is None:
        raise Unavailable("The GPU's energy counter stopped answering")
    return energy_mj / 1000


def _rest(seconds: float) -> int:
    time.sleep(seconds)
    return 0


def _repeat(infer: Callable[[], None], seconds: float) -> int:
    """How often it was called in that time; at least once."""
    end, count = time.perf_counter() + seconds, 0
    while not count or time.perf_counter() < end:
        infer()
        count += 1
    return count


def _no_more_than_idle(energy: Energy) -> str:
    return (
        f"The GPU drew {energy.busy_w:.1f} W while busy and {energy.idle_w:.1f} W idle: "
        "the load was too light or too short to tell its energy"
    )
