"""A point of the path as a recipe of its own."""

from __future__ import annotations

import pytest

from core.errors import BadInput
from core.quantization import Path, PathPoint, Upgrade
from experiments.quantization_path import Kept, is_all_float, kept_at, point_at, recipe_at
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml, to_yaml
from optimizers import TECHNIQUES


def path_of(*steps: tuple[str, int, int], measured: tuple[int, ...] = (0, 1)) -> Path:
    """The steps in their order; every measured point alike."""
    return Path(
        order=tuple(Upgrade(layer=layer, from_bits=before, to_bits=after) for layer, before, after in steps),
        points=tuple(
            PathPoint(upgrades=count, correct=90, agreed=95, images=100, p50_ms=1.0, size_bytes=1000)
            for count in measured
        ),
        chosen=1,
        limit_points=1,
        float_correct=92,
    )


TO_FLOAT = path_of(("head", 8, 32), ("stem", 8, 32), ("body", 8, 32))
MIXED = path_of(("a", 4, 8), ("b", 4, 8), ("a", 8, 32), ("b", 8, 32))


@pytest.mark.parametrize("key", ["int8", "qat"])
def test_exactly_the_first_layers_are_kept_and_nothing_is_searched(key: str) -> None:
    technique = TECHNIQUES[key](max_loss=0.5, per_channel=False)
    recipe = Recipe(model="resnet_fmnist", name="Mine", techniques=(technique,), runtime="onnxruntime", seed=3)
    made = recipe_at(recipe, TO_FLOAT, 2)
    assert made.techniques == (TECHNIQUES[key](keep=("head", "stem"), per_channel=False),)
    assert (made.seed, made.runtime, made.name) == (3, "onnxruntime", "")
    assert made.digest != recipe.digest


def test_patterns_that_were_there_stay_and_no_name_stands_twice() -> None:
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](max_loss=0.5, keep=("Linear", "head")),))
    (made,) = recipe_at(recipe, TO_FLOAT, 2).techniques
    assert made.model_dump()["keep"] == ("Linear", "head", "stem")


def test_layers_on_their_way_from_4_bits_stop_at_8() -> None:
    recipe = Recipe(
        model="vit_fmnist",
        techniques=(TECHNIQUES["structured_pruning"](), TECHNIQUES["weight_only"](bits=4, group_size=32, max_loss=1)),
    )
    pruning, weights = recipe_at(recipe, MIXED, 3).techniques
    assert pruning == TECHNIQUES["structured_pruning"]()
    assert weights == TECHNIQUES["weight_only"](bits=4, group_size=32, keep=("a",), keep_8bit=("b",))
    assert kept_at(MIXED, 3) == Kept(in_float=("a",), in_8_bits=("b",))


def test_the_start_of_the_path_keeps_nothing() -> None:
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](max_loss=0.5),), runtime="onnxruntime")
    assert recipe_at(recipe, TO_FLOAT, 0).techniques == (TECHNIQUES["int8"](),)


def test_such_a_recipe_survives_being_written() -> None:
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](max_loss=0.5),), runtime="onnxruntime")
    made = recipe_at(recipe, TO_FLOAT, 1)
    assert from_yaml(to_yaml(made)) == made


def test_the_end_of_the_path_quantizes_nothing_and_is_refused() -> None:
    assert [is_all_float(MIXED, count) for count in (0, 3, 4)] == [False, False, True]
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](max_loss=0.5),))
    with pytest.raises(BadInput, match="every layer is in float"):
        recipe_at(recipe, TO_FLOAT, 3)


def test_more_layers_than_a_recipe_can_name_are_one_sentence() -> None:
    path = path_of(*((f"layer{number}", 8, 32) for number in range(120)))
    recipe = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](max_loss=0.5),))
    with pytest.raises(BadInput, match="keep"):
        recipe_at(recipe, path, 110)


def test_points_are_found_by_their_number_of_steps() -> None:
    assert point_at(TO_FLOAT, 1) == TO_FLOAT.points[1]
