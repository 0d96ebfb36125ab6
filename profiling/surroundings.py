"""What else went on while something was timed, so that a figure in doubt can say why."""

from __future__ import annotations

from itertools import chain
from types import TracebackType
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.devices import Device
from profiling.gpu import GpuProcesses, GpuSample, GpuSampler
from profiling.machine import cpu_mhz

CLOCK_FALL = 0.05
"""Share of its clock that a GPU may lose before its figures are doubted."""
_NO_CPU_CLOCK = "This system does not tell the CPU's clock"
_FIELDS = {
    "sm_clocks_mhz": "sm_clock_mhz",
    "memory_clocks_mhz": "memory_clock_mhz",
    "temperatures_c": "temperature_c",
    "throttle_reasons": "throttle_reasons",
}
"""What is kept of several looks, and its name in one."""


class Surroundings(BaseModel):
    """The machine around timed work. The GPU's figures are one a look, the first before the work and the last after it.

    On a CPU they stay empty. Waiting for a core is told by the latency itself.
    """

    model_config = ConfigDict(frozen=True)

    cpu_mhz: float | None = None
    """After the work; None where the system does not tell."""
    sm_clocks_mhz: tuple[int, ...] = ()
    memory_clocks_mhz: tuple[int, ...] = ()
    temperatures_c: tuple[float, ...] = ()
    throttle_reasons: tuple[str, ...] | None = None
    """Every reason seen at any look; empty when none was, None when the driver does not tell."""
    foreign_processes: int | None = None
    """Most seen at any look."""
    reasons: dict[str, str] = {}
    """For each figure that is missing, one sentence on why."""

    @property
    def disturbances(self) -> tuple[str, ...]:
        """One sentence for each thing that may have changed the figures; empty when it was quiet."""
        slowed = self.throttle_reasons and f"The GPU slowed itself down: {', '.join(self.throttle_reasons)}"
        return tuple(each for each in (slowed, self._fall(), self._company()) if each)

    def _fall(self) -> str | None:
        """The SM clock's largest fall from one look to a later one."""
        clocks = self.sm_clocks_mhz
        falls = ((max(clocks[:at]), clock) for at, clock in enumerate(clocks) if at)
        high, low = max(falls, key=lambda fall: fall[0] - fall[1], default=(0, 0))
        return f"The GPU's clock fell from {high} to {low} MHz" if high - low > CLOCK_FALL * high else None

    def _company(self) -> str | None:
        count = self.foreign_processes
        return f"{count} other process{'es' if count > 1 else ''} used this GPU" if count else None


class SurroundingsWatch:
    """Looks when entered and when read, and in between only when told to: nothing runs beside what is timed."""

    def __init__(self, device: Device) -> None:
        self._gpu = GpuSampler(device.index) if device.kind == "cuda" else None
        self._samples: list[GpuSample] = []
        self._processes: list[GpuProcesses] = []

    def __enter__(self) -> SurroundingsWatch:
        if self._gpu:
            self._gpu.__enter__()
        self.look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._gpu:
            self._gpu.__exit__(kind, error, trace)

    def look(self) -> None:
        """One more look, a few milliseconds on a GPU; for the pauses between timed blocks."""
        if self._gpu:
            self._samples.append(self._gpu.sample())
            self._processes.append(self._gpu.processes())

    def read(self) -> Surroundings:
        """A last look, and everything seen since entering; to be called right after the work, before leaving."""
        self.look()
        mhz = cpu_mhz()
        reasons = {} if mhz else {"cpu_mhz": _NO_CPU_CLOCK}
        if not self._gpu:
            return Surroundings(cpu_mhz=mhz, reasons=reasons)
        seen = {name: self._told(each) for name, each in _FIELDS.items()}
        foreign = [each.foreign_count for each in self._processes if each.foreign_count is not None]
        throttled = seen.pop("throttle_reasons")
        return Surroundings(
            cpu_mhz=mhz,
            **seen,
            throttle_reasons=tuple(dict.fromkeys(chain.from_iterable(throttled))) if throttled else None,
            foreign_processes=max(foreign, default=None),
            reasons=reasons | self._reasons(),
        )

    def _told(self, name: str) -> tuple[Any, ...]:
        readings = (getattr(sample, name) for sample in self._samples)
        return tuple(reading for reading in readings if reading is not None)

    def _reasons(self) -> dict[str, str]:
        """Of each figure that no look told, why the last one did not."""
        last, count = self._samples[-1].reasons, self._processes[-1].reasons
        missing = {name: last[each] for name, each in _FIELDS.items() if not self._told(each)}
        if all(each.foreign_count is None for each in self._processes):
            missing["foreign_processes"] = count["foreign_count"]
        return missing
