"""When weights are zeroed, laid out from the length of the training; and what is counted of kernels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from bridges.keras.kernels import fours, outputs_first
from bridges.keras.pruning import Times, Wish

WISH = Wish("polynomial", 0.8, 0.5, begin=0.0, end=0.5, frequency=20, layers="all", keep_ends=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 97, 625, 10_000])
def test_the_last_choice_falls_on_the_end_and_within_the_training(steps: int) -> None:
    for begin, end, frequency in itertools.product((0.0, 0.3, 0.8), (0.1, 0.5, 1.0), (1, 20, 500)):
        times = Times.of(replace(WISH, begin=begin, end=end, frequency=frequency), steps)
        assert 1 <= times.begin <= times.end <= steps
        assert (times.end - times.begin) % times.frequency == 0
        assert 1 <= times.frequency <= frequency


def test_a_training_of_625_steps_is_laid_out_as_by_hand() -> None:
    assert Times.of(WISH, 625) == Times(1, 301, 20)
    assert Times.of(replace(WISH, begin=0.2, end=0.4, frequency=500), 1000) == Times(200, 400, 200)


def test_the_schedule_rises_along_zhu_and_guptas_cubic() -> None:
    times = Times(100, 200, 25)
    assert times.schedule(WISH) == [
        [100, pytest.approx(0.5)],
        [125, pytest.approx(0.8 - 0.3 * 0.75**3)],
        [150, pytest.approx(0.8 - 0.3 * 0.5**3)],
        [175, pytest.approx(0.8 - 0.3 * 0.25**3)],
        [200, pytest.approx(0.8)],
    ]
    assert times.schedule(replace(WISH, zeros="constant")) == [[100, 0.8]]
    long = Times(1, 10_001, 10).schedule(WISH)
    assert len(long) <= 52
    assert long[-1] == [10_001, pytest.approx(0.8)]


def test_kernels_are_turned_so_that_outputs_come_first() -> None:
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert outputs_first(kernel)[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    assert outputs_first(kernel, is_swapped=True)[3, 4, 1, 2] == kernel[1, 2, 3, 4]
    dense = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(outputs_first(dense), dense.T)


def test_fours_lie_along_the_inputs() -> None:
    weight = np.ones((2, 8, 1, 2))
    weight[0, [0, 3], 0, 0] = 0
    weight[1, [4, 5, 6], 0, 1] = 0
    weight[1, 3:5, 0, 0] = 0
    assert fours(weight) == (8, 2)
    assert fours(np.zeros((2, 6))) == (0, 0)
