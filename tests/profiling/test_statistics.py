from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from profiling.statistics import (
    blocked_quantile_interval,
    mcnemar_p,
    median_interval,
    pareto_front,
    quantile_interval,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (1, 3), (9278, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_interval_is_statsmodels(successes: int, total: int, level: float) -> None:
    expected = proportion_confint(successes, total, alpha=1 - level, method="wilson")
    assert wilson_interval(successes, total, level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [5, 6, 7, 71, 72, 73, 367, 368, 1000])
def test_quantile_interval_is_scipys_or_none_when_n_is_too_small(quantile: float, count: int) -> None:
    samples = np.random.default_rng(count).lognormal(size=count)
    expected = scipy.stats.quantile_test(samples, q=float(np.median(samples)), p=quantile).confidence_interval(0.95)
    interval = quantile_interval(samples.tolist(), quantile)
    if any(map(math.isnan, expected)):
        assert interval is None
    else:
        assert interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("quantile", "fewest"), [(0.5, 6), (0.95, 72), (0.99, 368)])
def test_the_fewest_samples_an_interval_needs(quantile: float, fewest: int) -> None:
    assert quantile_interval(list(range(fewest - 1)), quantile) is None
    assert quantile_interval(list(range(fewest)), quantile) is not None


def test_quantile_interval_covers_the_true_quantile_as_often_as_it_says() -> None:
    generator, true_p90 = np.random.default_rng(0), -math.log(0.1)
    intervals = [quantile_interval(generator.exponential(size=100).tolist(), 0.9) for _ in range(1000)]
    covered = sum(low <= true_p90 <= high for low, high in intervals)
    assert covered >= 935  # 950 expected at least; 935 is two standard deviations below


@pytest.mark.parametrize("count", [20, 41])
def test_median_interval_is_scipys_bootstrap(count: int) -> None:
    samples = np.random.default_rng(count).lognormal(sigma=0.1, size=count)
    expected = scipy.stats.bootstrap(
        (samples,), np.median, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    narrow = 0.05 * (expected.high - expected.low)
    assert median_interval(samples, resamples=20_000) == pytest.approx((expected.low, expected.high), abs=narrow)


def test_median_interval_covers_the_true_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    intervals = [median_interval(generator.lognormal(size=40), resamples=500) for _ in range(1000)]
    assert 925 <= sum(low <= 1 <= high for low, high in intervals) <= 975


def test_median_interval_depends_on_its_seed_alone() -> None:
    samples = np.random.default_rng(0).normal(size=20).tolist()
    assert median_interval(samples, seed=1) == median_interval(samples, seed=1)
    assert median_interval(samples, seed=1, resamples=50) != median_interval(samples, seed=2, resamples=50)
    assert median_interval([3.0] * 20) == (3.0, 3.0)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 5), (3, 11), (11, 3), (120, 160)])
def test_mcnemar_is_statsmodels_and_the_binomial_sum(first: int, second: int) -> None:
    expected = mcnemar([[10, first], [second, 10]], exact=True).pvalue
    assert mcnemar_p(first, second) == pytest.approx(expected)
    tail = sum(math.comb(first + second, k) for k in range(min(first, second) + 1)) / 2 ** (first + second)
    assert mcnemar_p(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_pareto_front_is_what_pairwise_comparison_leaves() -> None:
    points = np.random.default_rng(1).integers(0, 6, (40, 3)).tolist()
    maximise = (True, False, False)

    def beats(one: list[int], other: list[int]) -> bool:
        at_least = [(a >= b) if more else (a <= b) for a, b, more in zip(one, other, maximise, strict=True)]
        return all(at_least) and one != other

    beaten = {j for i, j in itertools.permutations(range(len(points)), 2) if beats(points[i], points[j])}
    front = pareto_front(points, maximise=maximise)
    assert front == [index for index in range(len(points)) if index not in beaten]
    assert 0 < len(front) < len(points)


def test_pareto_front_keeps_equals_and_takes_nothing() -> None:
    assert pareto_front([(1.0, 2.0), (1.0, 2.0), (0.5, 2.0)], maximise=(True, False)) == [0, 1]
    assert pareto_front([], maximise=(True, False)) == []


def test_a_blocked_interval_agrees_with_a_plain_bootstrap_over_blocks() -> None:
    generator = np.random.default_rng(4)
    blocks = [generator.normal(1 + generator.normal(0, 0.05), 0.02, size) for size in generator.integers(5, 60, 24)]
    low, high = blocked_quantile_interval(blocks, 0.5)
    draws = [
        np.quantile(np.concatenate([blocks[at] for at in generator.integers(0, 24, 24)]), 0.5, method="inverted_cdf")
        for _ in range(4000)
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))), abs=0.006)
    assert blocked_quantile_interval(blocks[:5], 0.5) is None
