from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from profiling.statistics import (
    blocked_quantile_interval,
    mcnemar_p,
    median_interval,
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
def test_median_interval_of_one_group_is_scipys_bootstrap(count: int) -> None:
    samples = np.random.default_rng(count).lognormal(sigma=0.1, size=count)
    expected = scipy.stats.bootstrap(
        (samples,), np.median, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    narrow = 0.05 * (expected.high - expected.low)
    for groups in (samples[None, :], samples[:, None]):  # groups of one sample are samples
        assert median_interval(groups.tolist(), resamples=20_000) == pytest.approx(tuple(expected), abs=narrow)


def test_median_interval_draws_groups_and_then_samples_in_them() -> None:
    generator = random.Random(0)
    groups = [[generator.gauss(centre, 1) for _ in range(9)] for centre in (0, 3, 3.5)]

    def resampled() -> float:
        drawn = [generator.choice(groups) for _ in groups]
        return statistics.median(generator.choice(group) for group in drawn for _ in group)

    medians = sorted(resampled() for _ in range(20_000))
    expected = (medians[500], medians[-501])
    narrow = 0.05 * (expected[1] - expected[0])
    assert median_interval(groups, resamples=20_000) == pytest.approx(expected, abs=narrow)


def test_median_interval_covers_the_true_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    intervals = [median_interval(generator.lognormal(size=(1, 40)).tolist(), resamples=500) for _ in range(1000)]
    assert 925 <= sum(low <= 1 <= high for low, high in intervals) <= 975


def test_median_interval_depends_on_its_seed_alone() -> None:
    samples = np.random.default_rng(0).normal(size=(2, 10)).tolist()
    assert median_interval(samples, seed=1) == median_interval(samples, seed=1)
    assert median_interval(samples, seed=1, resamples=50) != median_interval(samples, seed=2, resamples=50)
    assert median_interval([[3.0] * 20]) == (3.0, 3.0)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 5), (3, 11), (11, 3), (120, 160)])
def test_mcnemar_is_statsmodels_and_the_binomial_sum(first: int, second: int) -> None:
    expected = mcnemar([[10, first], [second, 10]], exact=True).pvalue
    assert mcnemar_p(first, second) == pytest.approx(expected)
    tail = sum(math.comb(first + second, k) for k in range(min(first, second) + 1)) / 2 ** (first + second)
    assert mcnemar_p(first, second) == pytest.approx(min(1.0, 2 * tail))


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
