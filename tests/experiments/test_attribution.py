from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest

from core.errors import BadInput, CannotCompose
from experiments.attribution import (
    Subset,
    attribute,
    missing,
    order_sentence,
    orders,
    orders_measured,
    refused,
    shapley,
    subsets,
)
from experiments.checking import check
from experiments.recipe import Recipe
from experiments.references import reference_of

THREE = Recipe.model_validate(
    {
        "name": "mine",
        "model": "resnet_fmnist",
        "runtime": "onnxruntime",
        "techniques": ["distillation", "structured_pruning", "int8"],
        "seed": 3,
    }
)
TWO = THREE.model_copy(update={"techniques": THREE.techniques[1:]})
PRUNE, INT8 = "structured_pruning", "int8"
BY_BATCHNORM = {"structured_pruning": {"importance": "bn_scale"}}
ONLY_AFTER_DISTILLATION = Recipe.model_validate(
    {"model": "vit_fmnist", "runtime": "onnxruntime", "techniques": ["distillation", BY_BATCHNORM, "int8"]}
)


def power_set(players: str) -> list[Subset]:
    return [frozenset(kept) for count in range(len(players) + 1) for kept in combinations(players, count)]


def random_game(players: str, seed: int) -> dict[Subset, float]:
    draw = np.random.default_rng(seed)
    return {subset: float(draw.normal()) for subset in power_set(players)}


def by_joining_in_every_order(values: dict[Subset, float], players: str) -> dict[str, float]:
    """The definition: what a player adds on arrival, averaged over all orders of arrival."""
    added: dict[str, list[float]] = {player: [] for player in players}
    for order in permutations(players):
        for position, player in enumerate(order):
            added[player].append(values[frozenset(order[: position + 1])] - values[frozenset(order[:position])])
    return {player: float(np.mean(each)) for player, each in added.items()}


def by_weighted_subsets(values: dict[Subset, float], players: str) -> dict[str, float]:
    """Shapley's closed formula: |S|! (n - |S| - 1)! / n! for each subset S without the player."""
    n = len(players)
    return {
        player: sum(
            math.factorial(len(s))
            * math.factorial(n - len(s) - 1)
            / math.factorial(n)
            * (values[s | {player}] - values[s])
            for s in power_set(players)
            if player not in s
        )
        for player in players
    }


def by_dividends(values: dict[Subset, float], players: str) -> dict[str, float]:
    """Harsanyi: each subset's own dividend is shared equally by its members."""
    dividends: dict[Subset, float] = {}
    for subset in power_set(players):
        dividends[subset] = values[subset] - sum(dividends[part] for part in dividends if part < subset)
    return {
        player: sum(dividend / len(subset) for subset, dividend in dividends.items() if player in subset)
        for player in players
    }


@pytest.mark.parametrize("reference", [by_joining_in_every_order, by_weighted_subsets, by_dividends])
@pytest.mark.parametrize("players", ["a", "ab", "abc", "abcd"])
def test_shapley_values_are_those_of_three_other_definitions(reference, players: str) -> None:
    for seed in range(5):
        values = random_game(players, seed)
        assert shapley(values) == pytest.approx(reference(values, players))


def test_shapley_values_sum_to_the_whole_and_treat_equals_alike_and_idlers_to_nothing() -> None:
    values = {subset: 2.0 * ({"a", "b"} <= subset) + 5 for subset in power_set("abc")}
    assert shapley(values) == pytest.approx({"a": 1.0, "b": 1.0, "c": 0.0})
    game = random_game("abcd", 1)
    assert sum(shapley(game).values()) == pytest.approx(game[frozenset("abcd")] - game[frozenset()])


def test_a_subset_that_was_not_measured_is_asked_for_by_name() -> None:
    values = random_game("ab", 0)
    del values[frozenset("b")]
    with pytest.raises(BadInput, match=r"1 of 4 subsets were not measured: b"):
        shapley(values)


def test_joining_orders_that_meet_an_impossible_subset_are_left_out() -> None:
    values = random_game("abc", 2)
    del values[frozenset("b")], values[frozenset("bc")]
    kept = [order for order in permutations("abc") if order.index("a") < order.index("b")]
    added = {player: [] for player in "abc"}
    for order in kept:
        for position, player in enumerate(order):
            added[player].append(values[frozenset(order[: position + 1])] - values[frozenset(order[:position])])
    found = shapley(values, impossible=[frozenset("b"), frozenset("bc")])
    assert found == pytest.approx({player: np.mean(each) for player, each in added.items()})
    assert sum(found.values()) == pytest.approx(values[frozenset("abc")] - values[frozenset()])
    with pytest.raises(BadInput, match="one at a time"):
        shapley({frozenset(): 0.0, frozenset("ab"): 1.0}, impossible=[frozenset("a"), frozenset("b")])


def test_subsets_keep_order_runtime_seed_and_settings() -> None:
    found = subsets(THREE)
    assert len(found) == 8
    assert found[frozenset()] == reference_of(THREE)
    assert found[frozenset({"distillation", PRUNE, INT8})].digest == THREE.digest
    assert [technique.key for technique in found[frozenset({INT8, PRUNE})].techniques] == [PRUNE, INT8]
    assert {(each.runtime, each.seed, each.name) for each in found.values()} == {("onnxruntime", 3, "")}
    assert len({each.digest for each in found.values()}) == 8


@pytest.mark.parametrize("keys", [[], ["int8"], ["int8", "int8"]])
def test_what_has_nothing_to_tell_apart_is_refused(keys: list[str]) -> None:
    recipe = Recipe.model_validate(THREE.model_dump(mode="json") | {"techniques": keys})
    with pytest.raises(BadInput, match="2 to 4 different"):
        subsets(recipe)


def test_missing_is_what_can_be_run_and_was_not() -> None:
    everything = subsets(THREE)
    assert missing(THREE, []) == everything
    finished = [THREE.digest, reference_of(THREE).digest]
    assert len(missing(THREE, finished)) == 6
    assert missing(THREE, {each.digest for each in everything.values()}) == {}


def test_a_technique_that_needs_another_is_named_with_the_reason_and_not_missing() -> None:
    check(ONLY_AFTER_DISTILLATION)
    reasons = refused(ONLY_AFTER_DISTILLATION)
    assert set(reasons) == {frozenset({PRUNE}), frozenset({PRUNE, INT8})}
    assert all("BatchNorm" in reason for reason in reasons.values())
    assert missing(ONLY_AFTER_DISTILLATION, []).keys().isdisjoint(reasons)
    assert len(missing(ONLY_AFTER_DISTILLATION, [])) == 6


def test_orders_are_the_permutations_that_compose_the_own_one_first() -> None:
    backwards = TWO.model_copy(update={"techniques": TWO.techniques[::-1]})
    with pytest.raises(CannotCompose):
        check(backwards)
    assert [each.digest for each in orders(TWO)] == [TWO.digest]
    assert order_sentence(TWO) == "Only 1 of 2 orders is possible: Pruned 50 % → INT8."


def test_other_orders_are_offered_where_they_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.attribution.why_refused", lambda recipe, kind: "")
    assert [each.techniques for each in orders(TWO)] == [TWO.techniques, TWO.techniques[::-1]]
    assert order_sentence(TWO) == "2 of 2 orders are possible: Pruned 50 % → INT8; INT8 → Pruned 50 %."
    rows = orders_measured(TWO, measured(TWO, {frozenset({PRUNE, INT8}): (0.9, 1.0, 10)}))
    assert list(rows.order) == ["Pruned 50 % → INT8", "INT8 → Pruned 50 %"]
    assert rows.accuracy.tolist() == [0.9, pytest.approx(math.nan, nan_ok=True)]
    assert rows.run_id.isna().tolist() == [False, True]


def measured(recipe: Recipe, values: dict[Subset, tuple[float, float, float]]) -> pd.DataFrame:
    """A comparison table with (accuracy, ms, bytes) of some subsets."""
    rows = [(subsets(recipe)[subset].digest, *each, f"run {sorted(subset)}", None) for subset, each in values.items()]
    return pd.DataFrame(rows, columns=["digest", "accuracy", "p50_ms", "size_bytes", "run_id", "joules"])


PAIR = {
    frozenset[str](): (0.93, 4.0, 800.0),
    frozenset({PRUNE}): (0.92, 2.0, 200.0),
    frozenset({INT8}): (0.925, 2.0, 200.0),
    frozenset({PRUNE, INT8}): (0.90, 0.5, 100.0),
}


def test_points_add_up_and_factors_multiply_to_what_was_measured() -> None:
    found = attribute(TWO, measured(TWO, PAIR))
    wide = found.wide
    assert list(wide.index) == [PRUNE, INT8]
    assert wide.accuracy.to_dict() == pytest.approx({PRUNE: -1.75, INT8: -1.25})
    assert wide.accuracy.sum() == pytest.approx(found.totals["accuracy"]) == pytest.approx(-3.0)
    assert wide.p50.prod() == pytest.approx(found.totals["p50"]) == pytest.approx(8.0)
    assert wide["size"].prod() == pytest.approx(found.totals["size"]) == pytest.approx(8.0)
    assert wide.p50.to_dict() == pytest.approx({PRUNE: math.sqrt(8), INT8: math.sqrt(8)})


def test_the_range_from_first_to_last_in_is_the_interaction_of_the_techniques() -> None:
    found = attribute(TWO, measured(TWO, PAIR))
    rows = found.table.set_index(["technique", "measure"])
    assert rows.loc[(PRUNE, "accuracy"), ["first_in", "last_in"]].tolist() == pytest.approx([-1.0, -2.5])
    assert rows.loc[(INT8, "p50"), ["first_in", "last_in"]].tolist() == pytest.approx([2.0, 4.0])
    assert rows.scale.to_dict()[(INT8, "p50")] == "factor"
    assert found.sentences[:2] == [
        "Pruned 50 %, accuracy: -1.75 points (-1.00 points by itself, -2.50 points on top of the others).",
        "INT8, accuracy: -1.25 points (-0.50 points by itself, -2.00 points on top of the others).",
    ]


def test_of_repeated_runs_the_newest_counts() -> None:
    old = measured(TWO, dict.fromkeys(PAIR, (0.5, 9.0, 9.0)))
    frame = pd.concat([old, measured(TWO, PAIR)], ignore_index=True)
    assert attribute(TWO, frame).totals == pytest.approx(attribute(TWO, measured(TWO, PAIR)).totals)


def test_a_measure_that_a_subset_lacks_is_left_out_and_said() -> None:
    found = attribute(TWO, measured(TWO, PAIR), measures=["p50", "energy"])
    assert list(found.totals) == ["p50"]
    assert found.unmeasured == ("energy",)
    assert found.sentences[-1] == "Energy was not measured for every subset."


def test_a_subset_without_a_run_is_asked_for() -> None:
    with pytest.raises(BadInput, match="Run the missing subsets"):
        attribute(TWO, measured(TWO, {subset: PAIR[subset] for subset in list(PAIR)[:3]}))


def test_attribution_averages_the_feasible_joining_orders_where_a_technique_cannot_run_alone() -> None:
    draw = np.random.default_rng(0)
    runnable = missing(ONLY_AFTER_DISTILLATION, [])
    values = {subset: tuple(draw.uniform(0.5, 1, 3)) for subset in runnable}
    found = attribute(ONLY_AFTER_DISTILLATION, measured(ONLY_AFTER_DISTILLATION, values))
    accuracies = {subset: 100 * each[0] for subset, each in values.items()}
    assert found.wide.accuracy.to_dict() == pytest.approx(shapley(accuracies, impossible=found.refused))
    pruning = found.table[(found.table.technique == PRUNE) & (found.table.measure == "p50")].iloc[0]
    assert math.isnan(pruning.first_in)
    assert not math.isnan(pruning.last_in)
    assert any("cannot run by itself: BatchNorm" in sentence for sentence in found.sentences)


def test_what_this_machine_lacks_is_missing_and_not_impossible() -> None:
    elsewhere = TWO.model_copy(update={"device": "cuda:7"})
    assert refused(elsewhere) == {}
    assert len(missing(elsewhere, ())) == 4
    with pytest.raises(BadInput, match="not measured"):
        attribute(elsewhere, measured(elsewhere, {}))
    assert attribute(elsewhere, measured(elsewhere, PAIR)).totals["p50"] == pytest.approx(8.0)


def test_the_interval_of_an_accuracy_contribution_is_that_of_a_paired_bootstrap() -> None:
    draw, images = np.random.default_rng(0), 2000
    base = draw.random(images) < 0.93
    correct = {subset: base & (draw.random(images) > 0.02 * len(subset)) for subset in PAIR}
    frame = measured(TWO, {subset: (float(each.mean()), 1.0, 1.0) for subset, each in correct.items()})
    table = attribute(TWO, frame, correct=correct).table.set_index(["technique", "measure"])
    row = table.loc[(PRUNE, "accuracy")]
    samples = []
    for _ in range(2000):
        picked = draw.integers(0, images, images)
        samples.append(100 * shapley({subset: float(each[picked].mean()) for subset, each in correct.items()})[PRUNE])
    assert row.low < row.contribution < row.high
    assert [row.low, row.high] == pytest.approx(np.quantile(samples, [0.025, 0.975]).tolist(), abs=0.06)
    assert math.isnan(table.loc[(PRUNE, "p50"), "low"])
