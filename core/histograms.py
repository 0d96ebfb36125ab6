"""How the values of a tensor are spread."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from core.quantization import Histogram, Range

if TYPE_CHECKING:
    from torch import Tensor

BINS = 96


def histogram(values: Tensor, *, most: int | None = None) -> Histogram:
    """Counts in equal bins between the smallest and the largest value; what is not finite is left out.

    Of more than `most` values only about so many, evenly spread, are counted; the range is that of all.
    """
    flat = values.detach().reshape(-1).cpu()
    low, high = (float(end) for end in flat.aminmax()) if len(flat) else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        return histogram(flat[flat.isfinite()], most=most)
    counted = flat[:: _stride(len(flat), most or len(flat))].double().numpy()
    counts, edges = np.histogram(counted, bins=BINS, range=(low, high))
    return Histogram(
        range=Range(low=float(edges[0]), high=float(edges[-1])),
        counts=tuple(map(int, counts)),
        zeros=int(len(counted) - np.count_nonzero(counted)),
    )


def _stride(values: int, most: int) -> int:
    """Every how many values to look, without a divisor in common with any dimension: no place is seen more often."""
    stride = max(1, -(-values // max(1, most)))
    while gcd(stride, values) > 1:
        stride += 1
    return stride


def joined(first: Histogram, second: Histogram) -> Histogram:
    """Both together, between the ends of both; counts move to the bin that the middle of theirs falls into."""
    ends = (min(first.range.low, second.range.low), max(first.range.high, second.range.high))
    counts = sum(np.histogram(_middles(each), BINS, ends, weights=each.counts)[0] for each in (first, second))
    return Histogram(
        range=Range(low=ends[0], high=ends[1]),
        counts=tuple(map(int, np.asarray(counts))),
        zeros=(first.zeros or 0) + (second.zeros or 0),
    )


def _middles(values: Histogram) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    edges = np.linspace(values.range.low, values.range.high, len(values.counts) + 1)
    return (edges[:-1] + edges[1:]) / 2
