from __future__ import annotations

import numpy as np
import pytest
import torch

from core.histograms import BINS, histogram, joined


def test_all_values_are_counted_as_numpy_does() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)).relu()
    found = histogram(values)
    counts, edges = np.histogram(values.double().numpy(), bins=BINS)
    assert list(found.counts) == counts.tolist()
    assert (found.range.low, found.range.high) == (edges[0], edges[-1])
    assert found.zeros == (values.numpy() == 0).sum()


def test_of_many_values_some_are_counted_between_the_ends_of_all() -> None:
    """Rows alternate between two values: a stride that shares a divisor with their length would see only one."""
    values = torch.tensor([-1.0, 1.0]).repeat(50_000)
    values[1234], values[4321] = -7.0, 9.0
    found = histogram(values, most=1000)
    assert (found.range.low, found.range.high) == (-7, 9)
    assert 900 <= sum(found.counts) <= 1000
    middle = [count for count in found.counts if count > 10]
    assert len(middle) == 2
    assert middle[0] == pytest.approx(middle[1], abs=2)


def test_what_is_not_finite_is_left_out_and_nothing_is_no_error() -> None:
    found = histogram(torch.tensor([1.0, 2.0, float("inf"), float("nan"), 3.0]))
    assert (found.range.low, found.range.high, sum(found.counts)) == (1, 3, 3)
    assert sum(histogram(torch.zeros(0)).counts) == 0
    assert sum(histogram(torch.full((7,), 2.5)).counts) == 7


def test_joined_histograms_lose_no_value_and_move_none_by_more_than_a_bin() -> None:
    noise = np.random.default_rng(1)
    first, second = noise.normal(0, 1, 4000), noise.normal(5, 0.1, 1000)
    found = joined(histogram(torch.from_numpy(first)), histogram(torch.from_numpy(second)))
    both = np.concatenate([first, second])
    assert (found.range.low, found.range.high) == pytest.approx((both.min(), both.max()))
    edges = np.linspace(both.min(), both.max(), BINS + 1)
    upto = np.cumsum(found.counts)
    assert upto[-1] == 5000
    for place in range(1, BINS - 1):
        assert (both < edges[place]).sum() - 1 <= upto[place] <= (both <= edges[place + 2]).sum()
