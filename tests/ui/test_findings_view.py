"""What a run found besides its numbers."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from experiments.recipe import Recipe
from experiments.references import fine_tuned_control
from experiments.store import Store
from tests.experiments.tflite_runs import BASELINE, answers, recipe, result

PRUNED = recipe(("keras_pruning", {"epochs": 3}))


def page(run_id: str, note: str) -> None:
    from core.progress import Note
    from ui.findings_view import draw_findings
    from ui.state import store

    record = store().run(run_id)
    assert record
    draw_findings(record, [Note(text=note)])


def leave(store: Store, asked: Recipe, wrong: range) -> str:
    run_id = store.begin_here(asked)
    store.finish(run_id, result(asked).model_copy(update={"accuracy": answers(wrong)}))
    return run_id


def told(run_id: str) -> list[str]:
    test = AppTest.from_function(page, kwargs={"run_id": run_id, "note": "80 % are zero."}).run(timeout=60)
    assert not test.exception
    return [each.value for each in test.markdown]


def test_the_part_of_the_technique_is_told_once_its_control_has_finished(store: Store) -> None:
    leave(store, BASELINE, range(200))
    run_id = leave(store, PRUNED, range(230))
    assert [each.partition("] ")[2] for each in told(run_id)] == ["80 % are zero."]
    control = fine_tuned_control(PRUNED)
    assert control
    control_id = leave(store, control, range(160))
    found, note = told(run_id)
    assert "Accuracy: -1.50 points against the baseline." in found.replace("\\", "")
    assert "-3.50 points" in found
    assert "80 % are zero." in note
    assert len(told(control_id)) == 1, "a control has none of its own"
