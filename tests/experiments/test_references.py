from __future__ import annotations

from annotated_types import Le

from experiments.recipe_file import from_yaml
from experiments.references import fine_tuned_control, reference_of, with_references
from optimizers import TECHNIQUES
from tests.experiments.recipes import CHAIN, TRAINED


def test_references_are_the_baseline_and_the_runtimes_own_fp32_each_once() -> None:
    recipe = from_yaml(CHAIN)
    baseline, variant, reference = with_references(recipe)
    assert baseline.is_baseline
    assert variant == recipe
    assert (reference.techniques, reference.runtime) == ((), "onnxruntime")
    assert with_references(baseline) == [baseline]
    assert len(with_references(reference)) == 2


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
