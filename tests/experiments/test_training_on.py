"""What training on alone did: variants beside FP32 that was fine-tuned too, and how alike both were trained."""

from __future__ import annotations

import pytest

from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.references import fine_tuned_control, in_runtime
from experiments.run_record import RunRecord
from experiments.store import Store
from experiments.training_on import TrainedOn, control_of, differences, trained_on, without_control
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
    assert (found.training.verdict, found.technique.verdict) == ("+2.00 points", "-3.50 points")
    assert found.total.points == pytest.approx(found.training.points + found.technique.points)
    assert "Training on in FP32 alone, for 5 epochs: +2.00 points." in found.sentence
    unlike = "one training instead of 2; the highest of the variant's learning rates"
    assert found.sentence.endswith(f": -3.50 points. That control had {unlike}.")


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
    assert "for 6 epochs instead of 5: " in found.sentence
    assert "learning rate 0.0003 instead of 0.001 and 0.0001" in found.sentence
    equal = fine_tuned_control(PRUNED)
    assert equal is not None
    right = leave(store, equal, range(160))
    (found,) = told(store)
    assert found.control_id == right


def test_one_training_has_a_control_that_is_alike_in_all(store: Store) -> None:
    leave(store, BASELINE, range(200))
    asked = recipe(("keras_pruning", {"epochs": 3, "batch_size": 32, "augmentation": "none"}))
    equal = fine_tuned_control(asked)
    assert equal is not None
    assert differences(equal, asked) == ()
    leave(store, equal, range(160))
    leave(store, asked, range(230))
    (found,) = told(store)
    assert found.unlike == ""
    assert "alone, for 3 epochs: " in found.sentence


def test_of_a_shorter_control_it_is_said_how_many_epochs_it_had(store: Store) -> None:
    leave(store, BASELINE, range(200))
    rate = {"learning_rate": 0.001}
    steps = [(key, {"epochs": 50, **rate}) for key in ("keras_pruning", "keras_clustering", "keras_qat")]
    asked = recipe(*steps)
    control = fine_tuned_control(asked)
    assert control is not None
    shorter = control.techniques[0].model_copy(update={"epochs": 50})
    leave(store, control.model_copy(update={"techniques": (shorter,)}), range(160))
    leave(store, asked, range(230))
    (found,) = told(store)
    assert found.unlike == "50 of the variant's 150 epochs; one training instead of 3"
    assert "for 50 of the variant's 150 epochs: " in found.sentence
    assert found.sentence.endswith("That control had one training instead of 3.")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"batch_size": 128}, "training batch 64 instead of 64 and 128"),
        ({"schedule": "constant"}, "learning rate over time cosine instead of cosine and constant"),
        ({"augmentation": "none"}, "augmentation mirror instead of mirror and none"),
    ],
)
def test_what_differs_between_the_steps_is_named(second: dict[str, object], said: str) -> None:
    rate = {"learning_rate": 0.001}
    asked = recipe(("keras_pruning", rate), ("keras_qat", {**rate, **second}))
    wanted = fine_tuned_control(asked)
    assert wanted is not None
    assert differences(wanted, asked) == ("one training instead of 2", said)
    reseeded = wanted.model_copy(update={"seed": 7})
    assert differences(reseeded, asked)[-1] == f"{said}, seed 7 instead of 0"


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
