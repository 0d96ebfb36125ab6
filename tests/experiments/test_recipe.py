from __future__ import annotations

from unittest import mock

import pytest
from annotated_types import Le

from core.errors import BadInput, CannotCompose, Unavailable
from experiments.recipe import (
    MeasurementSettings,
    Recipe,
    check,
    fine_tuned_control,
    from_yaml,
    reference_of,
    to_yaml,
    why_refused,
    with_references,
)
from optimizers import TECHNIQUES
from optimizers.int8 import Int8
from runtimes import RUNTIMES

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


@pytest.mark.parametrize("runtime", ["tensorrt", "aotinductor"])
def test_what_a_runtime_never_takes_is_said_before_what_is_missing_here(runtime: str) -> None:
    missing = mock.patch.object(type(RUNTIMES[runtime]), "why_unavailable", return_value="It is not installed")
    with missing, pytest.raises(CannotCompose, match="a model of Keras"):
        check(Recipe(model="keras_cnn_fmnist", runtime=runtime))
    with missing, pytest.raises(Unavailable, match="not installed"):
        check(Recipe(model="resnet_fmnist", runtime=runtime))


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


TRAINED = """
model: keras_cnn_fmnist
runtime: litert
seed: 3
techniques:
- keras_pruning: {epochs: 2, learning_rate: 0.002, batch_size: 128}
- keras_qat: {epochs: 1, learning_rate: 0.0005, batch_size: 128}
"""


def test_a_recipe_that_trains_a_model_of_keras_has_a_control_trained_on_as_long() -> None:
    recipe = from_yaml(TRAINED)
    baseline, variant, control = with_references(recipe)
    assert (baseline.is_baseline, variant) == (True, recipe)
    assert [each.key for each in control.techniques] == ["keras_fine_tuning"]
    training = control.techniques[0]
    assert (training.epochs, training.learning_rate, training.batch_size) == (3, 0.002, 128)
    assert (control.seed, control.runtime, control.measurement) == (3, "litert", recipe.measurement)
    assert control.name.endswith("(control)")
    assert control.digest == control.model_copy(update={"name": ""}).digest


def test_equal_trainings_share_one_control_and_fine_tuning_is_its_own() -> None:
    recipe = from_yaml(TRAINED)
    control = fine_tuned_control(recipe)
    assert control
    clustering = TECHNIQUES["keras_clustering"](epochs=3, learning_rate=0.002, batch_size=128)
    other = fine_tuned_control(recipe.model_copy(update={"techniques": (clustering,), "name": "mine"}))
    assert other
    assert other.digest == control.digest
    mine = control.model_copy(update={"name": "Mine"})
    assert [each.name for each in with_references(mine)] == ["", "Mine"]
    assert fine_tuned_control(reference_of(recipe)) is None
    assert fine_tuned_control(from_yaml(CHAIN)) is None


def test_a_control_can_be_as_long_as_the_longest_trainings_together() -> None:
    kinds = [TECHNIQUES[key] for key in ("keras_pruning", "keras_clustering", "keras_qat")]
    most = [each.le for kind in kinds for each in kind.model_fields["epochs"].metadata if isinstance(each, Le)]
    techniques = tuple(kind(epochs=count) for kind, count in zip(kinds, most, strict=True))
    control = fine_tuned_control(from_yaml(TRAINED).model_copy(update={"techniques": techniques}))
    assert control
    assert control.techniques[0].epochs == sum(most)


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
