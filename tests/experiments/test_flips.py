from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from core.data import Split
from core.errors import BadInput
from experiments.flips import Answers, Flips, class_accuracy, class_changes, class_names, holm, stage_of_flip, stages
from experiments.recipe import Recipe
from experiments.references import baseline_of, reference_of

NAMES = ["cat", "dog", "crane", "fish", "crane"]


def split_of(*labels: tuple[int, ...]) -> Split:
    """Images without content whose acceptable classes are given."""
    widest = max(map(len, labels))
    padded = np.array([[*each, *[-1] * (widest - len(each))] for each in labels], np.int64)
    return Split(np.zeros((len(labels), 1, 1, 1), np.uint8), padded)


def answers(*predictions: int, sure: list[float] | None = None) -> Answers:
    return Answers(np.array(predictions), np.array(sure or [0.9] * len(predictions)))


def random_split(seed: int, images: int, classes: int) -> tuple[Split, np.random.Generator]:
    draw = np.random.default_rng(seed)
    return split_of(*[(int(label),) for label in draw.integers(0, classes, images)]), draw


def worsened(split: Split, draw: np.random.Generator, share: float, classes: int) -> np.ndarray:
    """The targets, a share of them replaced by random classes."""
    return np.where(draw.random(len(split)) < share, draw.integers(0, classes, len(split)), split.targets)


def test_flips_are_told_apart_by_what_was_and_is_right() -> None:
    split = split_of((0,), (0,), (0,), (0,), (0, 1), (0,))
    flips = Flips(split, answers(0, 0, 1, 1, 0, 1), answers(0, 1, 0, 2, 1, 1))
    assert flips.right_to_wrong.tolist() == [1]
    assert flips.wrong_to_right.tolist() == [2]
    assert flips.wrong_to_wrong.tolist() == [3]
    assert flips.right_to_right.tolist() == [4]
    assert flips.churn == pytest.approx(4 / 6)
    assert flips.sentence == (
        "4 of 6 images (66.67 %) are answered differently: 1 right to wrong, 1 wrong to right, "
        "1 wrong to another wrong, 1 right to another right."
    )


def test_the_most_surprising_flip_is_where_both_were_sure() -> None:
    split = split_of(*[(0,)] * 4)
    before = answers(0, 0, 0, 0, sure=[0.99, 0.6, 0.97, 0.6])
    after = answers(1, 1, 1, 1, sure=[0.55, 0.98, 0.96, 0.98])
    assert Flips(split, before, after).right_to_wrong.tolist() == [2, 1, 3, 0]


def test_counts_add_up_and_the_p_value_is_that_of_statsmodels() -> None:
    split, draw = random_split(0, 3000, 5)
    before, after = worsened(split, draw, 0.05, 5), worsened(split, draw, 0.09, 5)
    sure = draw.random(len(split))
    flips = Flips(split, Answers(before, sure), Answers(after, sure))
    assert sum(flips.counts.values()) == (before != after).sum()
    was, now = before == split.targets, after == split.targets
    assert flips.counts["right_to_wrong"] - flips.counts["wrong_to_right"] == was.sum() - now.sum()
    expected = mcnemar(pd.crosstab(was, now), exact=True).pvalue
    assert flips.p_value == pytest.approx(expected)
    assert set(flips.right_to_wrong) == set(np.flatnonzero(was & ~now))


def test_the_table_of_flips_names_classes_and_keeps_the_order() -> None:
    split = split_of((0,), (0,), (1,))
    table = Flips(split, answers(0, 0, 3, sure=[0.5, 0.8, 0.7]), answers(1, 3, 1, sure=[0.6, 0.9, 0.4])).table(NAMES)
    assert table.image.tolist() == [1, 0, 2]
    assert table.kind.tolist() == ["right to wrong", "right to wrong", "wrong to right"]
    assert table[["target", "before", "after"]].to_numpy().tolist() == [
        ["cat", "cat", "fish"],
        ["cat", "cat", "dog"],
        ["dog", "fish", "dog"],
    ]
    assert table.confidence_after.tolist() == [0.9, 0.6, 0.4]


def test_equal_answers_are_no_flips() -> None:
    flips = Flips(split_of((0,), (1,)), answers(0, 0), answers(0, 0))
    assert flips.churn == 0
    assert flips.sentence == "All 2 images are answered as before."
    assert flips.table(NAMES).empty


def test_answers_to_other_images_are_refused() -> None:
    with pytest.raises(BadInput, match="Predictions for 2 and 3 images"):
        Flips(split_of((0,), (1,)), answers(0, 0), answers(0, 0, 0))
    with pytest.raises(BadInput, match="each of the 2"):
        class_accuracy(split_of((0,), (1,)), np.zeros(3, int), NAMES)


def test_class_accuracy_has_wilson_intervals_of_classes_with_images() -> None:
    split, draw = random_split(1, 500, 3)
    split = Split(split.pixels, split.labels + 1)
    predictions = worsened(split, draw, 0.2, 5)
    table = class_accuracy(split, predictions, NAMES)
    assert table.index.tolist() == [1, 2, 3]
    assert table.name.tolist() == ["dog", "crane (2)", "fish"]
    for number, row in table.iterrows():
        members = split.targets == number
        right = int((predictions[members] == number).sum())
        assert (row.images, row.correct) == (members.sum(), right)
        assert (row.low, row.high) == pytest.approx(proportion_confint(right, members.sum(), method="wilson"))


def test_an_image_belongs_to_its_first_acceptable_class_and_any_of_them_is_right() -> None:
    table = class_accuracy(split_of((0, 1), (0, 3), (1,)), np.array([1, 2, 0]), NAMES)
    assert table[["images", "correct"]].to_numpy().tolist() == [[2, 1], [1, 0]]


def test_names_that_classes_share_are_told_apart() -> None:
    assert class_names(NAMES).tolist() == ["cat", "dog", "crane (2)", "fish", "crane (4)"]


@pytest.mark.parametrize("seed", range(3))
def test_class_changes_are_what_counting_each_cell_gives_the_worst_class_first(seed: int) -> None:
    split, draw = random_split(seed, 2000, 4)
    baseline = worsened(split, draw, 0.05, 4)
    variants = {"mild": worsened(split, draw, 0.05, 4), "harsh": worsened(split, draw, 0.2, 4)}
    # One class is destroyed, so that something is significant beyond doubt.
    variants["harsh"][split.targets == 3] = 0
    changes = class_changes(split, baseline, variants, NAMES)
    p_values = {}
    for title, predictions in variants.items():
        for number in range(4):
            members, name = split.targets == number, class_names(NAMES)[number]
            was, now = baseline[members] == number, predictions[members] == number
            assert changes.images[name] == members.sum()
            assert changes.points.loc[name, title] == pytest.approx(100 * (now.mean() - was.mean()))
            cells = [[(was & now).sum(), (was & ~now).sum()], [(~was & now).sum(), (~was & ~now).sum()]]
            assert [changes.lost.loc[name, title], changes.gained.loc[name, title]] == [cells[0][1], cells[1][0]]
            p_values[name, title] = mcnemar(cells, exact=True).pvalue
    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    for (name, title), expected in zip(p_values, adjusted, strict=True):
        assert changes.p_values.loc[name, title] == pytest.approx(expected)
    assert changes.points.index[0] == "fish"
    assert changes.points.min(axis=1).is_monotonic_increasing
    assert changes.significant.loc["fish", "harsh"]
    assert not changes.significant["mild"].any()


def test_a_thousand_classes_show_only_those_with_images() -> None:
    draw = np.random.default_rng(0)
    split = split_of(*[(int(label),) for label in draw.integers(0, 1000, 60)])
    names = [f"class {number}" for number in range(1000)]
    changes = class_changes(split, split.targets, {"other": (split.targets + 1) % 1000}, names)
    assert len(changes.points) == len(np.unique(split.targets))
    assert changes.images.sum() == 60
    assert (changes.points["other"] == -100).all()
    assert not changes.significant.any(axis=None)


def test_a_baseline_alone_has_no_changes() -> None:
    changes = class_changes(split_of((0,), (1,)), np.array([0, 0]), {}, NAMES)
    assert changes.points.shape == changes.p_values.shape == (2, 0)


@pytest.mark.parametrize("count", [0, 1, 2, 37])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).random(count) ** 3
    expected = multipletests(p_values, method="holm")[1] if count else []
    assert holm(p_values) == pytest.approx(np.asarray(expected))


def test_stages_go_from_the_baseline_over_the_runtime_to_the_whole_recipe() -> None:
    recipe = Recipe.model_validate(
        {"model": "resnet_fmnist", "runtime": "onnxruntime", "techniques": ["structured_pruning", "int8"]}
    )
    chain = stages(recipe)
    assert [title for title, _ in chain] == ["FP32", "ONNX Runtime", "Pruned 50 %", "INT8"]
    assert [each.digest for _, each in chain][:2] == [baseline_of(recipe).digest, reference_of(recipe).digest]
    assert [technique.key for technique in chain[2][1].techniques] == ["structured_pruning"]
    assert chain[-1][1].digest == recipe.digest
    assert [title for title, _ in stages(baseline_of(recipe))] == ["FP32"]
    in_pytorch = recipe.model_copy(update={"runtime": "pytorch", "techniques": recipe.techniques[:1]})
    assert [title for title, _ in stages(in_pytorch)] == ["FP32", "Pruned 50 %"]


def test_a_flip_belongs_to_the_stage_after_which_it_stayed() -> None:
    split = split_of(*[(0,)] * 5)
    chain = [
        ("FP32", np.array([0, 0, 1, 0, 1])),
        ("runtime", np.array([1, 0, 1, 1, 2])),
        ("pruned", np.array([0, 0, 0, 0, 1])),
        ("INT8", np.array([1, 0, 0, 0, 3])),
    ]
    found = stage_of_flip(chain, split)
    # 0 turns, turns back and turns again; 2 turns at pruning; 3 ends as it began; 4 is wrong throughout.
    assert found.stage.to_dict() == {0: "INT8", 2: "pruned"}
    assert found.counts.to_dict("index") == {
        "runtime": {"right_to_wrong": 0, "wrong_to_right": 0},
        "pruned": {"right_to_wrong": 0, "wrong_to_right": 1},
        "INT8": {"right_to_wrong": 1, "wrong_to_right": 0},
    }


def test_stages_of_flips_are_those_of_walking_each_image_and_sum_to_the_flips() -> None:
    split, draw = random_split(4, 800, 3)
    chain = [(f"stage {number}", worsened(split, draw, 0.3, 3)) for number in range(5)]
    found = stage_of_flip(chain, split)
    right = [predictions == split.targets for _, predictions in chain]
    for image in range(len(split)):
        walk = [bool(stage[image]) for stage in right]
        if walk[0] == walk[-1]:
            assert image not in found.stage.index
            continue
        first = next(at for at in range(5) if all(each == walk[-1] for each in walk[at:]))
        assert found.stage[image] == f"stage {first}"
    flips = Flips(split, answers(*chain[0][1]), answers(*chain[-1][1]))
    assert found.counts.sum().to_dict() == {kind: flips.counts[kind] for kind in ("right_to_wrong", "wrong_to_right")}


def test_a_chain_without_flips_and_one_of_a_single_stage() -> None:
    split = split_of((0,), (1,))
    same = np.array([0, 0])
    found = stage_of_flip([("FP32", same), ("INT8", same)], split)
    assert found.stage.empty
    assert found.counts.to_numpy().tolist() == [[0, 0]]
    with pytest.raises(BadInput, match="at least two stages"):
        stage_of_flip([("FP32", same)], split)
