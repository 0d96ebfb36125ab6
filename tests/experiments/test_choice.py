from __future__ import annotations

import math

import pandas as pd
import pytest

from core.errors import BadInput
from experiments.choice import BUDGETS, Budgets, choose, spent
from experiments.measures import MEASURES
from tests.experiments.test_measures import random_table

MIB = 2**20


def table(*rows: tuple[str, float, float, float], baseline: str = "base") -> pd.DataFrame:
    """Variants from (title, accuracy, p50 in ms, MiB)."""
    frame = pd.DataFrame(rows, columns=["title", "accuracy", "p50_ms", "size_bytes"])
    frame["size_bytes"] *= MIB
    return frame.assign(run_id="run " + frame.title, is_baseline=frame.title == baseline, joules=None)


VARIANTS = table(
    ("base", 0.930, 4.0, 10),
    ("int8", 0.926, 1.3, 2.5),
    ("pruned", 0.924, 1.0, 5),
    ("both", 0.910, 0.5, 1.5),
)


def test_without_budgets_the_fastest_wins_and_nothing_binds() -> None:
    choice = choose(VARIANTS, Budgets())
    assert (choice.run_id, choice.fitting, choice.binding) == ("run both", 4, ())
    assert choice.is_best_of_all
    assert choice.sentences == [
        "both is the fastest at p50 (0.50 ms) of the 4 variants that fit.",
        "No budget binds: no variant is better.",
    ]


def test_the_binding_budget_says_what_a_little_more_would_buy() -> None:
    choice = choose(VARIANTS, Budgets(points_lost=0.4))
    assert choice.run_id == "run int8"
    assert choice.slack == {"points_lost": pytest.approx(0.0)}
    (price,) = choice.binding
    assert (price.budget, price.run_id) == ("points_lost", "run pruned")
    assert price.needed == pytest.approx(0.2)
    assert math.exp(price.gain) == pytest.approx(1.3)
    assert price.sentence == "0.20 points more would buy 1.30x faster: pruned."


def test_each_budget_that_a_better_variant_breaks_alone_has_its_price() -> None:
    frame = table(("base", 0.93, 4.0, 10), ("large", 0.93, 1.0, 8), ("loose", 0.92, 2.0, 4))
    choice = choose(frame, Budgets(points_lost=0.5, size_bytes=5 * MIB, p50_ms=9))
    assert choice.sentences == ["None of the 3 variants fits."] + [miss.sentence for miss in choice.misses]
    choice = choose(pd.concat([frame, table(("fits", 0.93, 3.0, 4))]), Budgets(points_lost=0.5, size_bytes=5 * MIB))
    assert choice.run_id == "run fits"
    assert {price.budget: price.run_id for price in choice.binding} == {
        "points_lost": "run loose",
        "size_bytes": "run large",
    }
    assert choice.binding[1].sentence == "3.00 MiB more would buy 3.00x faster: large."


def test_a_better_variant_that_breaks_two_budgets_makes_neither_binding() -> None:
    choice = choose(VARIANTS.iloc[[0, 3]], Budgets(points_lost=0.5, size_bytes=1 * MIB, p50_ms=5))
    assert choice.run_id is None
    frame = table(("base", 0.93, 4.0, 1), ("both", 0.91, 0.5, 1.5))
    choice = choose(frame, Budgets(points_lost=0.5, size_bytes=1 * MIB))
    assert (choice.run_id, choice.binding, choice.is_best_of_all) == ("run base", (), False)
    assert "more than one budget" in choice.sentences[1]


def brute_force(frame: pd.DataFrame, limits: dict[str, float], objective: str) -> tuple[set[str], float]:
    """Titles of the best variants that fit, by looking at each, and their merit."""
    measure = MEASURES[objective]
    merits = {}
    base = frame.accuracy.iloc[0]
    for row in frame.to_dict("records"):
        value = row[measure.column]
        costs = {"points_lost": round(100 * (base - row["accuracy"]), 6)} | {
            key: row.get(key) for key in limits if key != "points_lost"
        }
        known = value is not None and not math.isnan(value)
        if known and all(costs[key] is not None and costs[key] <= limit for key, limit in limits.items()):
            merits[row["title"]] = value if measure.better == "more" else -value
    best = max(merits.values(), default=math.nan)
    return {title for title, merit in merits.items() if merit == best}, best


@pytest.mark.parametrize("objective", ["p50", "accuracy", "size", "energy"])
@pytest.mark.parametrize("seed", range(8))
def test_choice_and_shadow_prices_are_what_trying_every_variant_and_limit_gives(seed: int, objective: str) -> None:
    frame = random_table(seed, 40)
    limits = {"points_lost": 1.0, "p50_ms": 3.0, "size_bytes": 9.0 * MIB, "joules": 0.7}
    choice = choose(frame, Budgets(**limits), objective)
    titles, best = brute_force(frame, limits, objective)
    assert choice.title in titles or (not titles and choice.run_id is None)
    if not titles:
        return
    prices = {price.budget: price for price in choice.binding}
    for key in limits:
        # Candidate limits are the values that occur; the smallest one that lets a better variant in is the price.
        values = sorted(set(spent(frame, key).dropna()))
        relaxed = [
            value
            for value in values
            if value > limits[key] and brute_force(frame, limits | {key: value}, objective)[1] > best
        ]
        assert (key in prices) == bool(relaxed)
        if relaxed:
            assert prices[key].needed == pytest.approx(relaxed[0] - limits[key])
            assert prices[key].title in brute_force(frame, limits | {key: relaxed[0]}, objective)[0]
            assert prices[key].gain > 0


def test_of_equally_fast_variants_the_more_accurate_is_taken() -> None:
    frame = table(("base", 0.93, 4.0, 10), ("worse", 0.90, 1.0, 2), ("better", 0.91, 1.0, 9))
    assert choose(frame, Budgets()).title == "better"


def test_what_is_as_fast_as_far_as_one_can_tell_is_named() -> None:
    frame = VARIANTS.assign(p50_ms=[4.0, 1.05, 1.0, 1.2])
    frame = frame.assign(p50_low_ms=frame.p50_ms - 0.05, p50_high_ms=frame.p50_ms + 0.05)
    assert choose(frame, Budgets()).as_fast == ("int8",)
    first = "pruned is the fastest at p50 (1.00 ms) of the 4 variants that fit; int8 is not measurably slower."
    assert choose(frame, Budgets()).sentences[0] == first
    assert choose(frame, Budgets(size_bytes=4 * MIB)).as_fast == ()
    assert choose(frame, Budgets(), "size").as_fast == ()
    unknown = frame.assign(p50_high_ms=[4.1, math.nan, 1.05, 1.25])
    assert choose(unknown, Budgets()).as_fast == ()
    wide = frame.assign(p50_low_ms=0.5, p50_high_ms=5.0)
    assert choose(wide, Budgets()).sentences[0].endswith("; int8, both and base are not measurably slower.")


def test_nothing_fits_names_the_budgets_that_exclude_everything_and_the_nearest() -> None:
    choice = choose(VARIANTS, Budgets(p50_ms=0.4, points_lost=3))
    assert (choice.run_id, choice.fitting) == (None, 0)
    (miss,) = [miss for miss in choice.misses if miss.budget == "p50_ms"]
    assert (miss.run_id, miss.excludes_all, miss.fits_the_others) == ("run both", True, True)
    assert miss.excess == pytest.approx(0.1)
    assert choice.sentences == [
        "None of the 4 variants fits.",
        "Latency p50 alone excludes every variant: both comes nearest, needs 0.10 ms more and would then fit.",
    ]


def test_when_only_budgets_together_exclude_everything_each_has_a_nearest_miss() -> None:
    choice = choose(VARIANTS, Budgets(p50_ms=0.6, points_lost=0.5))
    assert {miss.budget: (miss.title, miss.excludes_all) for miss in choice.misses} == {
        "p50_ms": ("int8", False),
        "points_lost": ("both", False),
    }
    assert all(miss.fits_the_others for miss in choice.misses)
    choice = choose(VARIANTS, Budgets(p50_ms=0.1, size_bytes=0.1 * MIB))
    assert [miss.fits_the_others for miss in choice.misses] == [False, False]
    assert "breaks another budget too" in choice.misses[0].sentence


def test_what_was_not_measured_does_not_fit_and_is_said() -> None:
    choice = choose(VARIANTS.assign(joules=[0.1, None, None, None]), Budgets(joules=0.2))
    assert choice.title == "base"
    assert choice.binding == ()
    assert choice.unknown == ("Energy was not measured for 3 of 4 variants, which therefore do not fit.",)
    choice = choose(VARIANTS, Budgets(), "energy")
    assert choice.run_id is None
    assert choice.sentences[-1].startswith("Energy was not measured for 4 of 4")


def test_points_lost_without_a_baseline_fit_nothing_and_say_why() -> None:
    choice = choose(table(("int8", 0.92, 1.0, 2)), Budgets(points_lost=1))
    assert choice.run_id is None
    assert any("baseline" in sentence for sentence in choice.sentences)
    assert choose(table(("int8", 0.92, 1.0, 2)), Budgets(p50_ms=2)).title == "int8"


def test_a_loss_that_equals_the_budget_fits_whatever_floats_say() -> None:
    assert 100 * (0.93 - 0.92) > 1.0
    frame = table(("base", 0.93, 4.0, 10), ("int8", 0.92, 1.0, 2))
    assert choose(frame, Budgets(points_lost=1.0)).title == "int8"


def test_granting_the_amount_shown_is_enough() -> None:
    frame = table(("base", 0.93000, 4.0, 10), ("int8", 0.92456, 1.0, 2))
    (price,) = choose(frame, Budgets(points_lost=0.3)).binding
    shown = float(price.sentence.split()[0])
    assert shown == 0.25
    assert choose(frame, Budgets(points_lost=0.3 + shown)).title == "int8"


def test_an_empty_table_and_an_unknown_objective_have_their_sentences() -> None:
    assert choose(VARIANTS.head(0), Budgets(points_lost=1)).sentences == ["No variant has been measured yet."]
    with pytest.raises(BadInput, match="p50"):
        choose(VARIANTS, Budgets(), "beauty")


def test_registries_are_keyed_by_their_own_keys_and_fit_each_other() -> None:
    assert all(key == measure.key for key, measure in MEASURES.items())
    assert list(BUDGETS) == list(Budgets.__dataclass_fields__)
    assert all(budget.key == key and budget.measure in MEASURES for key, budget in BUDGETS.items())
