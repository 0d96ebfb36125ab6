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
        ("model: [", r"not YAML: line 1 cannot be read\."),
        ("model: a\n  b: c", "line 2 cannot be read"),
        ("model: \0", r"not YAML\."),
        ("", "The recipe is empty; expected a mapping"),
        ("- just\n- a list", "a mapping"),
        ("runtime: pytorch", "The recipe has no `model`"),
        ("model: nobody", "resnet_fmnist"),
        ("model: resnet_fmnist\nruntime: abacus", "onnxruntime"),
        ("model: resnet_fmnist\ntechniques: [sorcery]", "sorcery"),
        (
            "model: resnet_fmnist\ntechniques: [{structured_pruning: {ratio: 1.5}}]",
            r"structured_pruning\.ratio is 1\.5; expected at most 0\.9\.",
        ),
        (
            "model: a\ntechniques: [{keras_qat: {epochs: ten}}]",
            r"epochs is 'ten'; expected a valid integer\.",
        ),
        ("model: a\ntechniques: [{int8: {ratio: 1}}]", r"The recipe has `int8\.ratio`, which is no setting\."),
        ("model: a\ntechniques: [{int8: [1]}]", r"int8 is \[1\]; expected settings by their names\."),
        ("model: a\nmeasurement: {batch_size: 0}", r"measurement\.batch_size is 0; expected at least 1\."),
        ("model: a\nname: " + "x" * 200, r"name is 'x{59}…; expected at most 120 characters\."),
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
