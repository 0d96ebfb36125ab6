from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from experiments.distillation_gain import gain_of
from tests.experiments.distillations import report


def test_the_interval_is_students_over_seeds() -> None:
    images = 2000
    pairs = ((60, 20), (75, 22), (66, 18))
    gain = gain_of(report(pairs=pairs, images=images))
    points = [100 * (taught - alone) / images for taught, alone in pairs]
    low, high = ttest_1samp(points, 0).confidence_interval(0.95)
    assert gain.mean_points == pytest.approx(np.mean(points))
    assert (gain.low_points, gain.high_points) == pytest.approx((low, high))
    assert gain.is_gain
    assert gain.verdict == f"{np.mean(points):+.2f} points"
    assert gain.sentence == (
        f"{np.mean(points):+.2f} points over the same student without the teacher "
        f"(95 % interval {low:+.2f} to {high:+.2f}, 3 seeds)."
    )


@pytest.mark.parametrize(
    ("pairs", "verdict", "words"),
    [
        (((60, 20), (20, 60), (39, 41)), "no measurable gain", "No measurable gain over the same student"),
        (((20, 60), (20, 61), (21, 60)), "-2.00 points", "-2.00 points against the same student"),
        (((5, 5), (5, 5)), "no measurable gain", "2 seeds"),
        ((), "not compared", "no student was trained without"),
    ],
)
def test_what_seeds_do_not_agree_on_is_no_gain(pairs: tuple[tuple[int, int], ...], verdict: str, words: str) -> None:
    gain = gain_of(report(pairs=pairs, images=2000))
    assert gain.verdict == verdict
    assert words in gain.sentence
    assert not gain.is_gain


@pytest.mark.parametrize(("pair", "is_gain"), [((60, 20), True), ((60, 55), False)])
def test_one_seed_has_no_interval_but_a_test_over_images(pair: tuple[int, int], is_gain: bool) -> None:
    gain = gain_of(report(pairs=(pair,), images=2000))
    assert (gain.low_points, gain.high_points) == (None, None)
    assert gain.p_value == pytest.approx(binomtest(pair[0], sum(pair)).pvalue)
    assert gain.is_gain == is_gain
    assert "one seed: no interval" in gain.sentence
