"""All timed calls: thinned for the screen, and still all there is to see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import find_peaks
from scipy.stats import ecdf, gaussian_kde

from tests.ui.figures.test_bars import COLOURS, variants
from ui.figures.distributions import BINS, MOST_POINTS, cumulative, density, humps, thinned, violins

Samples = dict[str, NDArray[np.float64]]
DRAW = np.random.default_rng(0)
STEADY = DRAW.normal(2.0, 0.02, 5000)
TAILED = 0.5 + DRAW.exponential(0.05, 20_000)
TWO_KINDS = np.concatenate([DRAW.normal(1.0, 0.02, 3000), DRAW.normal(2.5, 0.05, 2000)])
SAMPLES: Samples = {"r1": STEADY, "r2": TAILED, "r3": TWO_KINDS}


def frame() -> Any:
    return variants(is_disturbed=[False, False, True])


@pytest.mark.parametrize("count", [1, 7, 400, 401, 5000, 1_000_000])
def test_thinning_keeps_both_ends_dense_and_the_middle_even(count: int) -> None:
    ranks = thinned(count)
    assert len(ranks) <= MOST_POINTS
    assert (ranks[0], ranks[-1]) == (0, count - 1)
    assert (np.diff(ranks) > 0).all()
    assert np.diff(ranks, prepend=0).max() <= max(1, count / 190)
    if count > 400:
        assert {0, 1, 2, count - 3, count - 2, count - 1} <= set(ranks.tolist())


def test_each_point_of_a_curve_is_the_share_of_calls_that_took_at_most_that_long() -> None:
    for trace, samples in zip(
        cumulative(frame(), SAMPLES, COLOURS, ink="#000000").data, SAMPLES.values(), strict=False
    ):
        assert len(trace.x) <= MOST_POINTS
        assert np.asarray(trace.y) == pytest.approx(100 * ecdf(samples).cdf.evaluate(np.asarray(trace.x)))
        assert trace.x[-1] == samples.max()


def test_p50_and_p95_are_marked_on_the_curves() -> None:
    figure = cumulative(frame(), SAMPLES, COLOURS, ink="#000000")
    p50, p95 = figure.data[-2:]
    assert list(p50.x) == frame().p50_ms.tolist()
    assert set(p50.y) == {50}
    assert np.asarray(p95.x) == pytest.approx(frame().p95_ms.to_numpy(), nan_ok=True)
    assert list(p95.marker.color) == list(COLOURS.values())


def test_disturbed_runs_are_dashed() -> None:
    dashes = [trace.line.dash for trace in cumulative(frame(), SAMPLES, COLOURS, ink="#000000").data[:3]]
    assert dashes[:2] == ["solid", "solid"]
    assert dashes[2] != "solid"


def test_times_far_apart_get_a_logarithmic_axis_that_says_so() -> None:
    near: Samples = {key: STEADY * factor for key, factor in (("r1", 1), ("r2", 2), ("r3", 3))}
    for draws in (cumulative, violins):
        assert draws(frame(), near, COLOURS, ink="#000000").layout.xaxis.type is None
        axis = draws(frame(), near | {"r1": STEADY * 30}, COLOURS, ink="#000000").layout.xaxis
        assert axis.type == "log"
        assert "logarithmic" in axis.title.text
        assert 10 ** axis.range[0] < 2 * STEADY.min()
        assert 10 ** axis.range[1] > 30 * STEADY.max()


@pytest.mark.parametrize("values", [STEADY, TWO_KINDS, TAILED])
def test_densities_are_those_of_a_gaussian_kernel_estimate(values: NDArray[np.float64]) -> None:
    at, high = density(values)
    low, upper = np.quantile(values, (0.25, 0.75))
    width = 0.9 * min(values.std(ddof=1), (upper - low) / 1.34) * len(values) ** -0.2
    expected = gaussian_kde(values, bw_method=width / values.std(ddof=1))(at)
    assert np.abs(high - expected).max() < 0.05 * expected.max()
    assert len(at) == BINS


def test_calls_that_all_took_the_same_have_a_density_too() -> None:
    same: Samples = {key: np.full(50, 1.5) for key in SAMPLES}
    assert humps(same["r1"]) == [pytest.approx(1.5)]
    assert len(violins(frame(), same, COLOURS, ink="#000000").data) > 3
    mostly = np.append(np.full(99, 1.5), 1.6)
    assert np.isfinite(density(mostly)[1]).all()


def test_two_humps_are_told_from_one_and_from_a_tail() -> None:
    assert humps(STEADY) == [pytest.approx(2.0, rel=0.02)]
    assert humps(TWO_KINDS) == [pytest.approx(1.0, rel=0.02), pytest.approx(2.5, rel=0.02)]
    assert len(humps(TAILED)) == 1
    nearby = np.concatenate([DRAW.normal(1.37, 0.001, 3000), DRAW.normal(1.39, 0.001, 3000)])
    assert len(find_peaks(np.append(density(nearby)[1], 0), prominence=1)[0]) == 2
    assert len(humps(nearby)) == 1


def test_boxes_and_lines_are_quantiles_of_all_calls() -> None:
    figure = violins(frame(), SAMPLES, COLOURS, ink="#000000")
    line, box = figure.data[3:5]
    for row, samples in enumerate(SAMPLES.values()):
        assert list(line.x[3 * row : 3 * row + 2]) == pytest.approx(np.quantile(samples, (0.05, 0.95)).tolist())
        assert list(box.x[3 * row : 3 * row + 2]) == pytest.approx(np.quantile(samples, (0.25, 0.75)).tolist())
    assert box.line.width > line.line.width


def test_violins_are_equally_high_and_reach_from_the_shortest_to_the_longest_call() -> None:
    for place, (trace, samples) in enumerate(
        zip(violins(frame(), SAMPLES, COLOURS, ink="#000000").data[:3], SAMPLES.values(), strict=True)
    ):
        y = np.asarray(trace.y) + place
        assert y.max() == pytest.approx(-y.min())
        assert y.max() == pytest.approx(0.2)
        assert min(trace.x) == pytest.approx(samples.min(), rel=0.02)
        assert max(trace.x) == pytest.approx(samples.max(), rel=0.02)


def test_percentiles_are_written_and_titles_cannot_bring_html_in() -> None:
    words = [each.text for each in violins(frame(), SAMPLES, COLOURS, ink="#000000").layout.annotations]
    assert "p50 <b>0.500</b> · p95 n too small ms" not in words
    assert "p50 <b>0.500</b> · p95 n too small" in words
    assert "p50 <b>2.00</b> · p95 2.50 ms" in words
    assert any(each.startswith("Pruned &lt;b>50") and each.endswith("(disturbed)") for each in words)
