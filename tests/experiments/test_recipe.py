from __future__ import annotations

import pytest

from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml, to_yaml
from optimizers import TECHNIQUES
from optimizers.int8 import Int8
from tests.experiments.recipes import CHAIN


def test_the_digest_ignores_the_name_and_nothing_else() -> None:
    recipe = from_yaml(CHAIN)
    assert recipe.model_copy(update={"name": "mine"}).digest == recipe.digest
    assert recipe.model_copy(update={"seed": 1}).digest != recipe.digest
    assert from_yaml(CHAIN.replace("0.3", "0.31")).digest != recipe.digest


def test_a_setting_at_its_usual_value_is_not_part_of_the_digest() -> None:
    """So that a later version can add one without making every stored recipe another."""
    plain = Recipe(model="resnet_fmnist", techniques=(Int8(),), runtime="onnxruntime")
    same = from_yaml(to_yaml(plain))
    short = from_yaml("model: resnet_fmnist\nruntime: onnxruntime\ntechniques: [int8: {}]")
    other = Recipe(model="resnet_fmnist", techniques=(Int8(calibration_images=64),), runtime="onnxruntime")
    assert plain.digest == same.digest == short.digest != other.digest


@pytest.mark.parametrize(
    ("before", "settings", "label"),
    [
        ((), {}, "QAT INT8"),
        (("keras_pruning",), {}, "PQAT INT8"),
        (("keras_clustering",), {}, "CQAT INT8"),
        (("keras_pruning", "keras_clustering"), {}, "PCQAT INT8"),
        (("keras_pruning",), {"preserve": False}, "QAT INT8, nothing kept"),
    ],
)
def test_training_while_quantized_is_called_by_what_it_keeps(
    before: tuple[str, ...], settings: dict[str, bool], label: str
) -> None:
    steps = (*(TECHNIQUES[key]() for key in before), TECHNIQUES["keras_qat"](**settings))
    recipe = Recipe(model="keras_cnn_fmnist", techniques=steps, runtime="litert")
    assert recipe.labels[-1] == label
    assert recipe.title.endswith(f"{label} · LiteRT")
