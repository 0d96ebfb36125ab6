"""What another ratio would leave, where accuracy falls, and which runs belong to one curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sample_models
from core.devices import find_device
from core.errors import BadInput
from core.macs import count_macs
from experiments.pruning import (
    LADDER,
    at_ratio,
    bend_of,
    channel_table,
    is_sibling,
    knee,
    missing_ratios,
    predicted,
    read_off,
    removed,
    runs_table,
    scan_table,
    siblings,
)
from experiments.recipe import Recipe
from experiments.store import Store
from optimizers import TECHNIQUES
from optimizers.pruning.channels import Cut, prune, widths
from optimizers.technique import Context
from tests.experiments.pruning_reports import group_of, report, scan_of
from tests.optimizers.conftest import events_and_result
from tests.pages.left_behind import finished


def recipe_of(**settings: Any) -> Recipe:
    return Recipe(
        model="resnet_fmnist", techniques=(TECHNIQUES["structured_pruning"](**settings),), runtime="onnxruntime"
    )


def test_the_run_s_own_ratio_gives_the_run() -> None:
    found = report()
    own = predicted(found, 0.5, everywhere_alike=True, round_to=1)
    assert own.widths == tuple(group.after for group in found.groups)
    assert (own.macs, own.parameters) == (found.macs_after, found.parameters_after)
    assert [own.width_of(layer) for layer in found.layers] == [layer.outputs_after for layer in found.layers]


def test_one_ranking_takes_the_least_important_wherever_they_are() -> None:
    found = report()
    scores = np.concatenate([group.importance.array for group in found.groups])
    limit = np.sort(scores)[round(0.25 * len(scores)) - 1]
    other = predicted(found, 0.25, everywhere_alike=False, round_to=1)
    assert other.widths == tuple(int((group.importance.array > limit).sum()) for group in found.groups)
    assert all(threshold is not None and threshold <= limit for threshold in other.thresholds)
    stem, body = other.widths
    assert other.macs == 900 * (3 * stem + stem * body + body * stem) + 9 * stem * 10


def test_arithmetic_that_no_layer_accounts_for_stays() -> None:
    found = report()
    more = found.model_copy(update={"macs_before": found.macs_before + 1000})
    assert (
        predicted(more, 0.5, everywhere_alike=True, round_to=1).macs
        == predicted(found, 0.5, everywhere_alike=True, round_to=1).macs + 1000
    )


def test_channels_that_may_not_go_do_not() -> None:
    found = report()
    fixed = found.model_copy(
        update={"groups": (found.groups[0].model_copy(update={"prunable": False}), found.groups[1])}
    )
    assert predicted(fixed, 0.75, everywhere_alike=True, round_to=1).widths == (8, 4)


def test_a_width_that_vanishes_is_named() -> None:
    tiny = report(groups=(group_of(("stem",), [0.5, 1.5], (0,)), report().groups[1]))
    assert predicted(tiny, 0.9, everywhere_alike=True, round_to=1).emptied == ("stem",)


def test_gone_channels_are_known_by_their_first_number() -> None:
    assert np.flatnonzero(removed(report().groups[0])).tolist() == [0, 2, 4, 6]
    assert channel_table(report()).outputs_after.tolist() == [4, 8, 4, 10]


def test_accuracy_is_read_between_points_and_not_beyond() -> None:
    scan = scan_of((0.9, 0.8, 0.4))
    assert read_off(scan, 0.2) == pytest.approx(0.8)
    assert read_off(scan, 0.25) == pytest.approx(0.6)
    assert read_off(scan, 0.35) is None
    assert read_off((), 0.2) is None


@pytest.mark.parametrize("power", [2, 4, 9])
def test_the_knee_of_a_power_is_where_its_slope_is_that_of_the_chord(power: int) -> None:
    x = np.linspace(0, 1, 1001)
    place = knee(x.tolist(), (1 - x**power).tolist())
    assert place is not None
    assert x[place] == pytest.approx(power ** (-1 / (power - 1)), abs=1e-3)


def test_units_do_not_move_the_knee() -> None:
    x = np.linspace(0, 1, 101)
    assert knee(x.tolist(), (1 - x**4).tolist()) == knee((7 + 50 * x).tolist(), (93 - 5 * x**4).tolist())


@pytest.mark.parametrize("y", ["1 - x", "(1 - x) ** 4", "x", "0 * x"])
def test_lines_early_falls_and_rises_have_no_knee(y: str) -> None:
    x = np.linspace(0, 1, 11)
    assert knee(x.tolist(), eval(y, {"x": x}).tolist()) is None
    assert knee([0, 1], [1, 0]) is None


def test_the_bend_says_what_is_lost_before_and_beyond() -> None:
    bend = bend_of(scan_table(report(scan=scan_of((0.9, 0.9, 0.88, 0.68, 0.48)))))
    assert bend
    assert bend.ratio == pytest.approx(0.3)
    assert bend.points_before == pytest.approx(2)
    assert bend.points_per_step == pytest.approx(20)


def test_a_fall_within_chance_has_no_bend() -> None:
    few = scan_of((0.9, 0.9, 0.9, 0.9, 0.85), images=40)
    assert bend_of(scan_table(report(scan=few))) is None


def test_only_how_much_is_pruned_makes_siblings() -> None:
    half = recipe_of(ratio=0.5)
    assert is_sibling(half, recipe_of(ratio=0.7))
    assert not is_sibling(half, recipe_of(ratio=0.7, importance="l1"))
    assert not is_sibling(half, recipe_of(ratio=0.7).model_copy(update={"runtime": "openvino"}))
    assert not is_sibling(half, Recipe(model="resnet_fmnist", runtime="onnxruntime"))
    assert is_sibling(half, recipe_of(ratio=0.7).model_copy(update={"name": "Mine"}))


def test_a_recipe_s_other_ratio_changes_nothing_else() -> None:
    recipe = recipe_of(ratio=0.5, epochs=3, importance="l1").model_copy(update={"name": "Mine", "seed": 4})
    other = at_ratio(recipe, 0.3, scope="global")
    expected = TECHNIQUES["structured_pruning"](ratio=0.3, epochs=3, importance="l1", scope="global")
    assert other == recipe.model_copy(update={"name": "", "techniques": (expected,)})
    with pytest.raises(BadInput, match="removes no channels"):
        at_ratio(Recipe(model="resnet_fmnist"), 0.3)
    with pytest.raises(BadInput, match="ratio"):
        at_ratio(recipe, 0.99)


def test_runs_of_one_curve_are_found_and_ordered(store: Store) -> None:
    for ratio, wrong in ((0.7, 300), (0.3, 100), (0.3, 110)):
        finished(store, recipe_of(ratio=ratio), wrong=wrong)
    finished(store, recipe_of(ratio=0.3, importance="l1"))
    found = siblings(recipe_of(ratio=0.5), store.runs(states=("finished",)))
    assert len(found) == 2
    ratios = {record.id: record.recipe.techniques[0].model_dump()["ratio"] for record in found}
    table = runs_table([(record, report(ratio=ratios[record.id])) for record in found])
    assert table.ratio.tolist() == [0.3, 0.7]
    assert table.correct.tolist() == [1890, 1700]
    assert ((table.low < table.accuracy) & (table.accuracy < table.high)).all()


def test_only_ratios_that_nobody_ran_are_missing() -> None:
    known = {at_ratio(recipe_of(), ratio).digest for ratio in (0.1, 0.5)}
    missing = missing_ratios(recipe_of(ratio=0.25), lambda recipe: recipe.digest in known)
    assert list(missing) == [ratio for ratio in LADDER if ratio not in (0.1, 0.5)]
    assert at_ratio(recipe_of(), 0.5).digest == recipe_of(ratio=0.5).digest


@pytest.mark.parametrize(("model", "settings"), [("resnet_fmnist", {}), ("vit_fmnist", {"attention": "heads"})])
def test_predictions_are_what_really_cut_networks_have(model: str, settings: dict[str, Any], tmp_path: Path) -> None:
    bundle = sample_models.load(model)
    context = Context(find_device("cpu"), 1, 0, tmp_path, sample_models.build_student)
    pruning = TECHNIQUES["structured_pruning"](epochs=0, scan=False, **settings)
    _, pruned = events_and_result(pruning.apply(bundle, context))
    found = pruned.pruning
    assert found
    own = predicted(found, 0.5, everywhere_alike=True, round_to=4)
    assert own.widths == tuple(group.after for group in found.groups)
    assert own.macs == found.macs_after == count_macs(pruned.module, bundle.contract)
    for ratio, alike, multiple in ((0.3, True, 8), (0.65, False, 4)):
        cut = prune(bundle, Cut(ratio, "l2", alike, multiple, max_ratio=0.9, **settings))
        other = predicted(found, ratio, everywhere_alike=alike, round_to=multiple)
        left = widths(cut)
        assert {layer.name: other.width_of(layer) for layer in found.layers if layer.name in left} == left
        assert other.macs == count_macs(cut, bundle.contract)
        assert other.parameters == pytest.approx(sum(each.numel() for each in cut.parameters()), rel=0.05)
