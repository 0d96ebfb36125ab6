"""What bounds each layer: arithmetic, memory, or neither. After Williams, Waterman and Patterson, "Roofline" (2009).

A layer cannot take less than its multiply-accumulates take at the rate that the engine attains in its precision, nor
less than its bytes take at the bandwidth of the level of memory they fit into: both rates are probed in the same
profile, so they hold the engine and the hardware as they were. The larger of these two least times names the bound if
it explains at least half of what was measured: compute or memory. Where neither does, the layer is bound by overhead:
launching it, work too small for the machine, or a poor kernel.

Weights, inputs and outputs are assumed to pass through memory once, at the level that holds all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from core.layers import Layer, LayerProfile
from experiments.peaks import Peaks

Bound = Literal["compute", "memory", "overhead", "unknown"]
BOUNDS: Mapping[Bound, str] = {
    "compute": "Compute",
    "memory": "Memory",
    "overhead": "Overhead",
    "unknown": "Not told",
}
EXPLAINS = 0.5
"""Share of a layer's time that a least time has to reach to name its bound."""
_SAME_RATE = {"tf32": "fp32", "w8": "fp32", "w4": "fp32"}
"""Precisions that are probed as another: convolutions in FP32 use TF32 where a GPU has it, and weights in few bits are
multiplied as floats."""


@dataclass(frozen=True)
class Placed:
    """A layer against what the device attains."""

    place: int
    """In the order of execution, from 1."""
    layer: Layer
    arithmetic_ms: float | None
    """The least its multiplications take; None where the engine does not say how many, or the rate is not known."""
    bytes_ms: float
    """The least its bytes take."""

    @property
    def bound(self) -> Bound:
        """What explains at least half of its time; `unknown` where that could be arithmetic which is not told."""
        least_ms = max(self.arithmetic_ms or 0.0, self.bytes_ms)
        if least_ms < EXPLAINS * self.layer.time_ms:
            return "unknown" if self.arithmetic_ms is None else "overhead"
        return "memory" if self.bytes_ms > (self.arithmetic_ms or 0.0) else "compute"

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates per byte; None where it multiplies nothing."""
        moved = self.layer.moved_bytes
        return self.layer.macs / moved if self.layer.macs and moved else None

    @property
    def macs_per_s(self) -> float | None:
        """What it attains; None where it multiplies nothing, or takes less than the engine's clock shows."""
        return rate_of(self.layer)

    @property
    def attained(self) -> float | None:
        """Its least time as a share of its time; above 1 it is faster than what was probed."""
        if self.layer.time_ms <= 0 or self.arithmetic_ms is None:
            return None
        return max(self.arithmetic_ms, self.bytes_ms) / self.layer.time_ms


def rate_of(layer: Layer) -> float | None:
    """Multiply-accumulates per second; None where it multiplies nothing or took no time that the engine shows."""
    return 1000 * layer.macs / layer.time_ms if layer.macs and layer.time_ms > 0 else None


def placed(profile: LayerProfile, peaks: Peaks) -> tuple[Placed, ...]:
    """Every layer against the peaks, in the order of execution."""
    return tuple(_place(number, layer, peaks) for number, layer in enumerate(profile.layers, start=1))


def peak_of(peaks: Peaks, precision: str) -> float | None:
    """Multiply-accumulates per second that are attained in a precision; None where it was not probed."""
    return peaks.macs_per_s.get(precision) or peaks.macs_per_s.get(_SAME_RATE.get(precision, ""))


def time_by_bound(layers: Sequence[Placed]) -> dict[Bound, float]:
    """ms of the layers of each bound, those that occur."""
    found: dict[Bound, float] = {}
    for bound in BOUNDS:
        of_bound = [each.layer.time_ms for each in layers if each.bound == bound]
        if of_bound:
            found[bound] = sum(of_bound)
    return found


def bound_of_most(layers: Sequence[Placed]) -> Bound:
    """The bound that has most of the time of these layers, of which there is at least one."""
    times = time_by_bound(layers)
    return max(times, key=times.__getitem__)


def _place(place: int, layer: Layer, peaks: Peaks) -> Placed:
    moved = layer.moved_bytes
    bytes_ms = 1000 * moved / peaks.bytes_per_s(moved) if moved and peaks.bandwidth else 0.0
    return Placed(place, layer, _arithmetic_ms(layer, peaks), bytes_ms)


def _arithmetic_ms(layer: Layer, peaks: Peaks) -> float | None:
    if layer.kind != "compute" and not layer.macs:
        return 0.0
    peak = peak_of(peaks, layer.precision)
    return 1000 * layer.macs / peak if peak and layer.macs else None
