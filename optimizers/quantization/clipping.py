"""How far a grid of 256 values should reach: the range with the smallest squared error, found on a histogram."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Range = tuple[float, float]

_SHARES = np.arange(1, 101) / 100
"""Of the way from zero to the end of what was observed."""
_ROUNDS = 4


def least_error_range(counts: Numbers, centres: Numbers, observed: Range, *, symmetric: bool) -> Range:
    """The part of the observed range that loses least when what lies outside is clipped and the rest is rounded.

    `counts` values lie at each of `centres`. Minimises the sum of squared errors on the grid that ONNX Runtime lays
    over a range: signed and around zero where it is `symmetric`, else unsigned from the lower to the upper end, zero
    among its values. The ends of an asymmetric range are moved in turn until neither gains.
    """
    seen = counts > 0
    counts, centres = counts[seen], centres[seen]
    low, high = min(observed[0], 0.0), max(observed[1], 0.0)
    if symmetric:
        ends = max(-low, high) * _SHARES
        end = _best(ends, lambda end: squared_errors(counts, centres, -end, end, symmetric=True))
        return max(-end, low), min(end, high)
    lows, highs = low * _SHARES, high * _SHARES
    for _ in range(_ROUNDS):
        before = low, high
        high = _best(highs, lambda end, low=low: squared_errors(counts, centres, low, end))  # type: ignore[misc]
        low = _best(lows, lambda end, high=high: squared_errors(counts, centres, end, high))  # type: ignore[misc]
        if (low, high) == before:
            break
    return low, high


def _best(candidates: Numbers, errors: Callable[[Numbers], Numbers]) -> float:
    """The candidate with the smallest error; of equals the one that reaches furthest."""
    found = errors(candidates[:, None])
    return float(candidates[len(found) - 1 - int(np.argmin(found[::-1]))])


def squared_errors(
    counts: Numbers, values: Numbers, low: Numbers | float, high: Numbers | float, *, symmetric: bool = False
) -> Numbers:
    """[R]: the sum of squared rounding errors of `counts` times `values`[V] on the grid over each [low, high][R, 1]."""
    first, last = (-128, 127) if symmetric else (0, 255)
    scale = np.maximum(np.subtract(high, low) / (254 if symmetric else 255), np.finfo(np.float32).tiny)
    zero_point = 0 if symmetric else np.rint(-low / scale)
    rounded = (np.clip(np.rint(values / scale) + zero_point, first, last) - zero_point) * scale
    errors: Numbers = ((rounded - values) ** 2) @ counts
    return errors
