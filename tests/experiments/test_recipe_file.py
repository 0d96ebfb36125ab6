from __future__ import annotations

import pytest

from core.errors import BadInput
from experiments.recipe_file import from_yaml, to_yaml
from tests.experiments.recipes import CHAIN


def test_yaml_round_trip_keeps_every_setting() -> None:
    recipe = from_yaml(CHAIN)
    assert from_yaml(to_yaml(recipe)) == recipe
    assert [technique.key for technique in recipe.techniques] == ["structured_pruning", "int8"]
    assert recipe.techniques[0].ratio == 0.3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", "not YAML"),
        ("- just\n- a list", "a mapping"),
        ("runtime: pytorch", "model"),
        ("model: nobody", "resnet_fmnist"),
        ("model: resnet_fmnist\nruntime: abacus", "onnxruntime"),
        ("model: resnet_fmnist\ntechniques: [sorcery]", "sorcery"),
        ("model: resnet_fmnist\ntechniques: [{structured_pruning: {ratio: 1.5}}]", "ratio"),
        ("model: resnet_fmnist\nsurprise: 1", "surprise"),
        ("model: resnet_fmnist\nversion: 2", "version"),
        ("a: &a [x]\nmodel: *a", "refers to parts of itself"),
        ("[" * 5000, "nested too deeply"),
        ("# " + "x" * 50_000, "characters"),
        ("model: resnet_fmnist\ntechniques: {int8: {}}", "list"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        from_yaml(text)
