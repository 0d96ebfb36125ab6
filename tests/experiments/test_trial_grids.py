"""Estimates from histograms against rounding the values themselves, with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.histograms import histogram
from core.quantization import GridSummary
from experiments.trial_grids import Trial, estimate, trial_grid, worth_of_bits

Values = NDArray[np.float64]
NOISE = np.random.default_rng(0)
NORMAL = NOISE.normal(0.1, 0.5, 200_000)
SPREADS = {
    "normal": NORMAL,
    "after a ReLU": NORMAL.clip(0),
    "with outliers": np.concatenate([NORMAL, NOISE.normal(0, 6, 500)]),
    "far from zero": NOISE.uniform(3, 4, 50_000),
    "pruned": np.where(np.abs(NORMAL) < 0.4, 0, NORMAL),
}


def rounded(values: Values, grid: GridSummary) -> Values:
    """As an engine would: to integers, clamped, and back."""
    integers = np.clip(np.round(values / grid.scales[0]) + grid.zero_point, grid.low, grid.high)
    return (integers - grid.zero_point) * grid.scales[0]


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize(("bits", "cut"), [(8, 0), (8, 0.001), (4, 0), (4, 0.01), (2, 0.001)])
@pytest.mark.parametrize("name", SPREADS)
def test_estimates_are_those_of_the_values_themselves(name: str, bits: int, cut: float, symmetric: bool) -> None:
    values = SPREADS[name]
    seen = histogram(torch.from_numpy(values))
    grid = trial_grid(seen, Trial(bits, symmetric, cut))
    given, found = rounded(values, grid), estimate(seen, grid)
    error = np.square(given - values).sum()
    assert found.snr_db == pytest.approx(10 * np.log10(np.square(values).sum() / error), abs=0.5)
    beyond = (values > grid.covers.high + grid.scales[0] / 2) | (values < grid.covers.low - grid.scales[0] / 2)
    assert found.clipped == pytest.approx(beyond.mean(), abs=0.002)
    assert found.to_zero == pytest.approx((given == 0).mean(), abs=0.02)
    assert found.zeros == (values == 0).mean()


def test_a_grid_covers_what_it_should() -> None:
    seen = histogram(torch.linspace(-1, 3, 4001, dtype=torch.float64))
    whole = trial_grid(seen, Trial(8, symmetric=True))
    assert (whole.low, whole.high, whole.zero_point) == (-127, 127, 0)
    assert whole.scales[0] == pytest.approx(3 / 127)
    shifted = trial_grid(seen, Trial(4))
    assert (shifted.low, shifted.high, shifted.zero_point) == (0, 15, 4)
    assert shifted.scales[0] == pytest.approx(4 / 15)
    cut = trial_grid(seen, Trial(8, cut=0.1))
    assert cut.covers.high == pytest.approx(2.8, abs=0.02)
    assert cut.covers.low == pytest.approx(-0.8, abs=0.02)
    assert trial_grid(seen, Trial(8, symmetric=True, cut=0.1)).covers.high == pytest.approx(2.6, abs=0.02)


def test_zero_is_always_on_the_grid() -> None:
    seen = histogram(torch.linspace(3, 4, 1001))
    grid = trial_grid(seen, Trial(8))
    assert (grid.covers.low, grid.covers.high) == pytest.approx((0, 4))


def test_a_bit_more_is_six_decibels_more_and_no_error_is_no_number() -> None:
    seen = histogram(torch.from_numpy(NOISE.uniform(-1, 1, 200_000)))
    assert np.diff(worth_of_bits(seen, Trial(), (5, 6, 7, 8))) == pytest.approx([6, 6, 6], abs=0.3)
    nothing = histogram(torch.zeros(10))
    found = estimate(nothing, trial_grid(nothing, Trial()))
    assert (found.snr_db, found.to_zero, found.clipped) == (None, 1.0, 0.0)
