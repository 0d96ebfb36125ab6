"""Sliders over what variants cost, and what they say about the variants."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from experiments.choice import Budgets, choose, spent
from experiments.compare import DISTURBED
from tests.ui.figures.test_bars import MIB, variants
from ui.comparison.budgets import NO_LIMIT, amount, marks, rounded_up, slack, steps, verdict_badge


def frame() -> pd.DataFrame:
    return variants(is_baseline=[True, False, False])


@pytest.mark.parametrize("seed", range(10))
def test_any_two_variants_have_a_step_between_them_and_each_has_one_that_fits_it(seed: int) -> None:
    values = np.sort(10 ** np.random.default_rng(seed).uniform(-3, 4, 9))
    offered = steps(pd.Series(values))
    for lower, higher in pairwise(values):
        assert higher <= 1.01 * lower or any(lower <= step < higher for step in offered)
    assert offered == sorted(set(offered))
    assert offered[-1] == NO_LIMIT
    assert offered[0] < values[0]
    assert offered[-2] < values[-1]
    assert len({amount(step, "ms") for step in offered}) == len(offered)
    assert len(offered) < 120


def test_losses_are_counted_from_none() -> None:
    assert steps(pd.Series([0.0, 0.02, -0.3, 1.0]), counts_from_zero=True) == [
        0, 0.02, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, NO_LIMIT,
    ]  # fmt: skip
    assert steps(pd.Series([0.0, -1.0]), counts_from_zero=True) == [0, NO_LIMIT]
    assert steps(pd.Series([0.0, 0.05]), counts_from_zero=True) == [0, NO_LIMIT]


def test_without_anything_to_tell_apart_there_is_little_to_choose() -> None:
    assert steps(pd.Series([3.0, 3.0])) == [2.5, NO_LIMIT]
    assert steps(pd.Series([0.0, 0.0])) == [NO_LIMIT]
    assert steps(pd.Series([math.nan, 2.0, 8.0]))[:3] == [1.5, 2, 2.5]


def test_rounding_up_never_excludes_the_variant_and_keeps_three_digits() -> None:
    values = 10 ** np.random.default_rng(1).uniform(-4, 6, 2000)
    for value in values:
        step = rounded_up(value)
        assert value * (1 - 1e-8) <= step <= 1.01 * value
        assert float(f"{step:.3g}") == step
    assert [rounded_up(value) for value in (0.3, 1.38, 1.3801, 2048)] == [0.3, 1.38, 1.39, 2050]


def test_amounts_have_units_and_the_end_of_the_slider_is_no_limit() -> None:
    shown = [amount(0.5, "ms"), amount(1, "points"), amount(1, "ms"), amount(NO_LIMIT, "MiB")]
    assert shown == ["0.5 ms", "1 point", "1 ms", "no limit"]


def test_marks_say_who_is_chosen_who_breaks_what_and_where_the_limits_are() -> None:
    budgets = Budgets(points_lost=1.0, size_bytes=2.5 * MIB)
    found = marks(frame(), choose(frame(), budgets), budgets)
    assert found.chosen == "r2"
    assert found.breaks == {"r1": "Size", "r3": "Accuracy lost, Size"}
    assert found.limits == {"accuracy": pytest.approx(0.92), "size": 2.5 * MIB}


def test_who_breaks_a_budget_is_who_does_not_fit() -> None:
    for limit in (0.4, 0.9, 1.5, 3):
        budgets = Budgets(p50_ms=limit)
        broken = set(marks(frame(), choose(frame(), budgets), budgets).breaks)
        assert broken == set(frame().run_id[frame().p50_ms > limit])


def test_what_was_not_measured_breaks_a_budget_and_says_so() -> None:
    table = frame().assign(joules=[0.2, np.nan, 0.1])
    budgets = Budgets(joules=0.15)
    found = marks(table, choose(table, budgets), budgets)
    assert found.breaks == {"r1": "Energy", "r2": "Energy (not measured)"}


def test_without_a_baseline_points_lost_have_no_line() -> None:
    table = frame().assign(is_baseline=False)
    budgets = Budgets(points_lost=1.0, p50_ms=1)
    assert marks(table, choose(table, budgets), budgets).limits == {"p50": 1}
    assert spent(table, "points_lost").isna().all()


def test_the_table_says_what_is_left_of_each_budget() -> None:
    budgets = Budgets(points_lost=0.6, size_bytes=4 * MIB)
    table = slack(choose(frame(), budgets, "accuracy"), budgets).set_index("Budget")
    assert table.loc["Accuracy lost"].tolist() == ["0.600 points", "0.500 points", "0.100 points", "no"]
    assert table.loc["Size"].tolist() == ["4.00 MiB", "2.00 MiB", "2.00 MiB", "yes"]


def test_differences_are_green_red_or_none() -> None:
    assert verdict_badge("2.1x faster", "faster", "speed") == ":green-badge[2.1x faster]"
    doubted = "2.1x faster" + DISTURBED
    assert verdict_badge(doubted, "faster", "speed") == f":gray-badge[{doubted}]"
    assert verdict_badge("-0.30 points", "+", "accuracy") == ":red-badge[-0.30 points]"
    assert verdict_badge("no measurable difference", "+", "accuracy").startswith(":gray-badge[accuracy")
