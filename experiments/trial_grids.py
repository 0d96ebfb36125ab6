"""What a quantization grid would do to the values of a histogram: estimated from the histogram, nothing is run.

Values count as spread evenly within their bin, those that are exactly zero as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log10

import numpy as np
from numpy.typing import NDArray

from core.quantization import GridSummary, Histogram, Range

_Array = NDArray[np.float64]
_PLACES = 4097
"""At which the share of values beyond a range is looked up."""


@dataclass(frozen=True)
class Trial:
    """A way to choose a grid for a whole tensor."""

    bits: int = 8
    symmetric: bool = False
    """Around zero, in 2^bits - 1 steps; else from the smallest to the largest value with zero on the grid."""
    cut: float = 0.0
    """Share of the values that may lie beyond the grid, 0 to 1: with half of it at either end where not symmetric."""


@dataclass(frozen=True)
class Estimate:
    """What rounding to a grid costs."""

    snr_db: float | None
    """Power of the values over that of their error; None where there is no error."""
    clipped: float
    """Share of the values beyond the grid's ends, 0 to 1."""
    to_zero: float
    """Share that becomes zero, or is zero already."""
    zeros: float | None
    """Share that is zero already; None where nobody counted."""


def trial_grid(values: Histogram, trial: Trial) -> GridSummary:
    """The grid that the trial chooses for these values."""
    if trial.symmetric:
        last = 2 ** (trial.bits - 1) - 1
        scale = _reach(values, trial.cut) / last or 1.0
        first, zero_point = -last, 0
    else:
        low, high = _ends(values, trial.cut)
        first, last = 0, 2**trial.bits - 1
        scale = (high - low) / last or 1.0
        zero_point = round(-low / scale)
    covers = Range(low=scale * (first - zero_point), high=scale * (last - zero_point))
    return GridSummary(bits=trial.bits, low=first, high=last, scales=(scale,), zero_point=zero_point, covers=covers)


def _reach(values: Histogram, cut: float) -> float:
    """The smallest size that at most that share of the values exceeds."""
    low, high = values.range.low, values.range.high
    most = max(abs(low), abs(high))
    if not cut:
        return most
    sizes = np.linspace(most, 0, _PLACES)
    beyond = _share_below(values, -sizes) + 1 - _share_below(values, sizes)
    return float(sizes[np.searchsorted(beyond, cut, side="right") - 1])


def _ends(values: Histogram, cut: float) -> tuple[float, float]:
    """What lies between them, and zero, is all but that share of the values."""
    low, high = values.range.low, values.range.high
    if cut:
        places = np.linspace(low, high, _PLACES)
        below = _share_below(values, places)
        low = float(places[np.searchsorted(below, cut / 2, side="right") - 1])
        high = float(places[min(int(np.searchsorted(below, 1 - cut / 2, side="left")), _PLACES - 1)])
    return min(low, 0.0), max(high, 0.0)


def _share_below(values: Histogram, places: _Array) -> _Array:
    """Of all values, 0 to 1."""
    edges = np.linspace(values.range.low, values.range.high, len(values.counts) + 1)
    upto = np.concatenate([[0], np.cumsum(values.counts)]) / max(1, sum(values.counts))
    return np.asarray(np.interp(places, edges, upto), np.float64)


def estimate(values: Histogram, grid: GridSummary) -> Estimate:
    """What rounding to an integer grid with one scale costs these values."""
    low, high, counts = _spread(values)
    total = max(1, sum(values.counts))
    scale, ends = grid.scales[0], grid.covers
    inside_low, inside_high = low.clip(ends.low, ends.high), high.clip(ends.low, ends.high)
    rounding = scale**3 * (_rounding(inside_high / scale) - _rounding(inside_low / scale))
    beyond = _cubed(high - ends.high) - _cubed(low - ends.high) + _cubed(ends.low - low) - _cubed(ends.low - high)
    error = float((counts * (rounding + beyond) / (high - low)).sum())
    power = float((counts * (high**3 - low**3) / 3 / (high - low)).sum())
    last, first = ends.high + scale / 2, ends.low - scale / 2
    clipped = float((counts * (1 - _overlap(low, high, first, last))).sum()) / total
    zeroed = float((counts * _overlap(low, high, -scale / 2, scale / 2)).sum()) + (values.zeros or 0)
    return Estimate(
        snr_db=10 * log10(power / error) if error > 1e-12 * power and power else None,
        clipped=max(0.0, clipped) if clipped > 1e-9 else 0.0,
        to_zero=zeroed / total,
        zeros=None if values.zeros is None else values.zeros / total,
    )


def _spread(values: Histogram) -> tuple[_Array, _Array, _Array]:
    """The ends of the bins that hold values other than exact zeros, and how many each holds."""
    edges = np.linspace(values.range.low, values.range.high, len(values.counts) + 1)
    counts = np.asarray(values.counts, np.float64)
    if values.zeros:
        home = int(np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, len(counts) - 1))
        counts[home] = max(0.0, counts[home] - values.zeros)
    held = counts > 0
    return edges[:-1][held], edges[1:][held], counts[held]


def _rounding(place: _Array) -> _Array:
    """The integral from 0 of the squared distance to the nearest integer."""
    nearest = np.round(place)
    return np.asarray(nearest / 12 + (place - nearest) ** 3 / 3, np.float64)


def _cubed(distance: _Array) -> _Array:
    """The integral from 0 of the squared distance, where it is positive."""
    return np.asarray(distance.clip(0) ** 3 / 3, np.float64)


def _overlap(low: _Array, high: _Array, first: float, last: float) -> _Array:
    """Share of each bin between two ends."""
    return np.asarray((high.clip(first, last) - low.clip(first, last)) / (high - low), np.float64)


def worth_of_bits(values: Histogram, trial: Trial, widths: Sequence[int]) -> list[float | None]:
    """The signal-to-noise ratio in dB with each number of bits, all else as in the trial."""
    return [estimate(values, trial_grid(values, replace(trial, bits=bits))).snr_db for bits in widths]
