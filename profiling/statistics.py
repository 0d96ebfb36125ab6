"""What a finite sample allows one to say. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
SIGNIFICANCE = 0.05
"""Largest p-value of a difference that is called one."""
SMALLEST_SPEEDUP = 1.03
"""A time that differs by less is called no difference, however narrow the intervals: machines drift this much."""
FEWEST_BLOCKS = 6
"""Below it, an interval drawn from blocks would be too narrow."""


def wilson_interval(successes: int, total: int, level: float = 0.95) -> Interval:
    """Where a proportion lies, by Wilson's score interval (J. Am. Stat. Assoc. 22, 1927); right at 0 and 1 too."""
    from scipy.stats import norm

    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    share = successes / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total * total))) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)


def quantile_interval(
    samples: Sequence[float] | NDArray[np.float64], quantile: float, level: float = 0.95
) -> Interval | None:
    """Where a population's quantile lies, whatever its distribution; None when n is too small.

    At 95 % the two-sided interval needs 6 samples for the median, 72 for p95 and 368 for p99. The bounds are order
    statistics: each leaves out at most (1 - level) / 2 of the binomial distribution of samples below the quantile.
    """
    from scipy.stats import binom

    n, tail = len(samples), (1 - level) / 2
    below = np.arange(n + 1)
    low = np.flatnonzero(binom.cdf(below, n, quantile) <= tail)
    high = np.flatnonzero(binom.sf(below - 1, n, quantile) <= tail)
    if not len(low) or not len(high):
        return None
    ordered = np.sort(np.asarray(samples, np.float64))
    return float(ordered[low[-1]]), float(ordered[high[0] - 1])


def blocked_quantile_interval(
    blocks: Sequence[NDArray[np.float64]], quantile: float, *, level: float = 0.95, resamples: int = 1000
) -> Interval | None:
    """Where a quantile of all samples lies when only whole blocks are independent; None below 6 blocks.

    The percentile bootstrap over blocks (Kalibera and Jones, ISMM 2013): blocks are drawn, and the quantile is that of
    all samples in them. The interval therefore belongs to the quantile of the pooled samples, however many a block has.
    """
    if len(blocks) < FEWEST_BLOCKS:
        return None
    samples = np.concatenate(blocks)
    order = np.argsort(samples, kind="stable")
    block_of = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])[order]
    times_drawn = np.random.default_rng(0).multinomial(len(blocks), [1 / len(blocks)] * len(blocks), resamples)
    ordered = samples[order]
    drawn = [ordered[_position(counts[block_of], quantile)] for counts in times_drawn]
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _position(weights: NDArray[np.int64], quantile: float) -> int:
    """Where in ordered samples, each counted as often as its weight, the quantile lies."""
    reached = np.cumsum(weights)
    return int(np.searchsorted(reached, quantile * reached[-1]))


def median_interval(
    groups: Sequence[Sequence[float]], *, seed: int = 0, level: float = 0.95, resamples: int = 2000
) -> Interval:
    """Where a population's median lies, from samples[G, N] that are more alike within each of G groups than across.

    The percentile bootstrap in two stages: groups are drawn, then samples in each (Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 3.8). The jackknife that BCa would need fails for medians. With one
    group it is the plain bootstrap. The same samples and seed give the same interval.
    """
    values, generator = np.asarray(groups, np.float64), np.random.default_rng(seed)
    count, size = values.shape
    drawn = generator.integers(0, count, (resamples, count, 1)), generator.integers(0, size, (resamples, count, size))
    medians = np.median(values[drawn].reshape(resamples, -1), axis=1)
    low, high = np.quantile(medians, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two classifiers are equally accurate on the same images.

    The counts are of images that only the first, and only the second, got right (McNemar, Psychometrika 12, 1947).
    """
    from scipy.stats import binomtest

    differing = only_first + only_second
    return float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
