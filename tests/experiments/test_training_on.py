"""What training on alone did: variants beside an equally fine-tuned FP32."""

from __future__ import annotations

import pytest

from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe, fine_tuned_control, in_runtime
from experiments.store import RunRecord, Store
from experiments.training_on import TrainedOn, control_of, trained_on, without_control
from tests.experiments.tflite_runs import BASELINE, answers, recipe, result

PRUNED = recipe(("keras_pruning", {"epochs": 3}), ("keras_qat", {"epochs": 2}))


def control(epochs: int = 5, **settings: float) -> Recipe:
    return recipe(("keras_fine_tuning", {"epochs": epochs, **settings}))


def leave(store: Store, asked: Recipe, wrong: range) -> str:
    run_id = store.begin_here(asked)
    store.finish(run_id, result(asked).model_copy(update={"accuracy": answers(wrong)}))
    return run_id


def told(store: Store) -> list[TrainedOn]:
    records = all_of(store)
    return trained_on(records, store.results([record.id for record in records]))


def all_of(store: Store) -> list[RunRecord]:
    return store.runs(states=("finished",))


def test_a_change_is_split_into_what_training_does_and_what_the_technique_does(store: Store) -> None:
    leave(store, BASELINE, range(200))
    equal = fine_tuned_control(PRUNED)
    assert equal is not None
    control_id = leave(store, equal, range(160))
    variant_id = leave(store, PRUNED, range(230))
    (found,) = told(store)
    assert (found.run_id, found.control_id) == (variant_id, control_id)
    assert found.is_equal
    assert (found.training.verdict, found.technique.verdict) == ("+2.00 points", "-3.50 points")
    assert found.total.points == pytest.approx(found.training.points + found.technique.points)
    assert "Training on in FP32 alone, for 5 epochs: +2.00 points." in found.sentence


def test_what_is_not_measurable_is_called_so(store: Store) -> None:
    leave(store, BASELINE, range(200))
    leave(store, control(), range(199))
    leave(store, PRUNED, range(230))
    (found,) = told(store)
    assert found.training.verdict == NO_DIFFERENCE
    assert f"+0.05 points ({NO_DIFFERENCE})" in found.sentence


def test_the_control_that_is_trained_alike_is_taken_else_the_nearest_which_is_said(store: Store) -> None:
    leave(store, BASELINE, range(200))
    leave(store, control(20), range(150))
    near = leave(store, control(6), range(170))
    leave(store, PRUNED, range(230))
    (found,) = told(store)
    assert found.control_id == near
    assert not found.is_equal
    assert "trained for 5 epochs, was not trained in quite the same way" in found.sentence
    equal = fine_tuned_control(PRUNED)
    assert equal is not None
    right = leave(store, equal, range(160))
    (found,) = told(store)
    assert found.control_id == right


def test_a_control_of_another_runtime_or_model_is_none(store: Store) -> None:
    leave(store, BASELINE, range(200))
    leave(store, in_runtime(control(), "openvino"), range(150))
    leave(store, PRUNED, range(230))
    records = all_of(store)
    assert control_of(PRUNED, records) is None
    assert told(store) == []
    assert [each.recipe for each in without_control(records)] == [PRUNED]


def test_what_was_never_trained_needs_no_control(store: Store) -> None:
    leave(store, BASELINE, range(200))
    leave(store, control(), range(150))
    leave(store, recipe(("keras_quantization", {})), range(210))
    assert told(store) == []
    assert without_control(all_of(store)) == []
