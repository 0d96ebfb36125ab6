from __future__ import annotations

import pytest

from core.errors import BadInput, CannotCompose, Unavailable
from experiments.recipe import MeasurementSettings, Recipe, check, from_yaml, to_yaml, why_refused, with_references
from optimizers.int8 import Int8

CHAIN = """
model: resnet_fmnist
runtime: onnxruntime
techniques:
- structured_pruning: {ratio: 0.3}
- int8: {calibration_images: 64}
"""


def test_yaml_round_trip_keeps_every_setting() -> None:
    recipe = from_yaml(CHAIN)
    assert from_yaml(to_yaml(recipe)) == recipe
    assert [technique.key for technique in recipe.techniques] == ["structured_pruning", "int8"]
    assert recipe.techniques[0].ratio == 0.3


def test_the_digest_ignores_the_name_and_nothing_else() -> None:
    recipe = from_yaml(CHAIN)
    assert recipe.model_copy(update={"name": "mine"}).digest == recipe.digest
    assert recipe.model_copy(update={"seed": 1}).digest != recipe.digest
    assert from_yaml(CHAIN.replace("0.3", "0.31")).digest != recipe.digest


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


def test_check_walks_the_recipe() -> None:
    situation = check(from_yaml(CHAIN))
    assert (situation.form, situation.precision) == ("onnx", "int8")
    assert situation.applied == ("structured_pruning", "int8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": "pytorch"}, "ONNX Runtime"),
        ({"techniques": ["int8", "structured_pruning"]}, "prun"),
        ({"techniques": ["int8", "int8"]}, "twice"),
        ({"model": "efficientnet_lite0", "techniques": ["distillation"]}, "training images"),
    ],
)
def test_what_does_not_compose_is_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    recipe = Recipe.model_validate(from_yaml(CHAIN).model_dump(mode="json") | changes)
    with pytest.raises(CannotCompose, match=words):
        check(recipe)


def test_an_absent_device_is_named() -> None:
    with pytest.raises(Unavailable, match="cuda:7"):
        check(from_yaml(CHAIN + "device: cuda:7"))


def test_references_are_the_baseline_and_the_runtimes_own_fp32_each_once() -> None:
    recipe = from_yaml(CHAIN)
    baseline, variant, reference = with_references(recipe)
    assert baseline.is_baseline
    assert variant == recipe
    assert (reference.techniques, reference.runtime) == ((), "onnxruntime")
    assert with_references(baseline) == [baseline]
    assert len(with_references(reference)) == 2


def test_a_model_that_is_not_bundled_any_more_is_refused_with_a_sentence() -> None:
    assert "gone_model" in why_refused(Recipe(model="gone_model"))


def test_a_cuda_graph_is_measured_apart_and_refused_without_a_gpu() -> None:
    graph = Recipe(model="resnet_fmnist", measurement=MeasurementSettings(cuda_graph=True))
    assert graph.settings == "cpu|1|0|graph"
    assert "CUDA graph" in why_refused(graph, CannotCompose)


def test_a_setting_at_its_usual_value_is_not_part_of_the_digest() -> None:
    """So that a later version can add one without making every stored recipe another."""
    plain = Recipe(model="resnet_fmnist", techniques=(Int8(),), runtime="onnxruntime")
    same = from_yaml(to_yaml(plain))
    short = from_yaml("model: resnet_fmnist\nruntime: onnxruntime\ntechniques: [int8: {}]")
    other = Recipe(model="resnet_fmnist", techniques=(Int8(calibration_images=64),), runtime="onnxruntime")
    assert plain.digest == same.digest == short.digest != other.digest
