"""What bounds each layer: arithmetic, memory, or neither. After Williams, Waterman and Patterson, "Roofline" (2009).

A layer cannot take less than its multiply-accumulates take at the rate that the engine attains in its precision, nor
less than its bytes take at the bandwidth of the level of memory they fit into: both rates are probed in the same
profile, so they hold the engine and the hardware as they were. The larger of these two least times names the bound if
it explains at least half of what was measured: compute or memory. Where neither does, the layer is bound by overhead:
launching it, work too small for the machine, or a poor kernel. What was measured is not exact: an engine may round it
down, and a typical call is slower than the fastest one, which the rates are of. Where that could change the answer, the
bound is not told.

Weights, inputs and outputs are assumed to pass through memory once, at the level that holds all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.layers import BITS, Layer, LayerProfile
from experiments.peaks import Peaks
from experiments.profile import ProfileResult

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
"""Precisions that are probed as another: earlier versions kept the rate of TF32 as that of FP32, and weights in few
bits are multiplied as floats."""
FASTEST = 0.01
"""Quantile of the calls that is set beside the fastest of the probe's, which are about a hundred."""


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
    between_ms: tuple[float, float]
    """What it may really take: on a machine as quick as in the fastest calls, and before rounding."""

    @property
    def bound(self) -> Bound:
        """What explains at least half of its time; `unknown` where engine or clock tell too little for that."""
        least_ms = max(self.arithmetic_ms or 0.0, self.bytes_ms)
        explains = {least_ms >= EXPLAINS * each for each in self.between_ms}
        if self.layer.time_ms <= 0 or len(explains) > 1:
            return "unknown"
        if explains == {False}:
            return "overhead" if self.arithmetic_ms is not None and _are_bytes_told(self.layer) else "unknown"
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


def placed_in(result: ProfileResult) -> tuple[Placed, ...]:
    """Every layer of a profile against the peaks that were probed in it, in the order of execution; none without."""
    return placed(result.layers, result.peaks, quickest=_quickest(result)) if result.peaks else ()


def placed(profile: LayerProfile, peaks: Peaks, *, quickest: float = 1.0) -> tuple[Placed, ...]:
    """Every layer against the peaks, in the order of execution.

    `quickest` is the share of a typical call that one of the fastest takes.
    """
    found = []
    for number, layer in enumerate(profile.layers, start=1):
        between_ms = quickest * layer.time_ms, layer.time_ms + profile.resolution_ms
        found.append(Placed(number, layer, _arithmetic_ms(layer, peaks), _bytes_ms(layer, peaks), between_ms))
    return tuple(found)


def peak_of(peaks: Peaks, precision: str, layers: Sequence[Layer] = ()) -> float | None:
    """Multiply-accumulates per second that are attained in a precision; None where it was not probed.

    In FP32, those of these layers together, some of which may have used TF32.
    """
    return peaks.rate(precision, layers) or peaks.rate(_SAME_RATE.get(precision, ""), layers)


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


def _quickest(result: ProfileResult) -> float:
    """A fast call beside a typical one of the time in which the layers were profiled; at most 1."""
    typical_ms = result.layers.call_ms
    return min(1.0, float(np.quantile(result.latency.samples_ms, FASTEST)) / typical_ms) if typical_ms > 0 else 1.0


def _are_bytes_told(layer: Layer) -> bool:
    """An engine that tells what comes out of a view tells that nothing moves there."""
    return bool(layer.moved_bytes or (layer.output_shape is not None and layer.precision in BITS))


def _bytes_ms(layer: Layer, peaks: Peaks) -> float:
    moved = layer.moved_bytes
    return 1000 * moved / peaks.bytes_per_s(moved) if moved and peaks.bandwidth else 0.0


def _arithmetic_ms(layer: Layer, peaks: Peaks) -> float | None:
    if layer.kind != "compute" and not layer.macs:
        return 0.0
    peak = peak_of(peaks, layer.precision)
    return 1000 * layer.macs / peak if peak and layer.macs else None
