"""Whose runs are whose: what one person sees and can do of another's through their view of the store."""

from __future__ import annotations

import inspect
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadInput
from core.progress import Note, PhaseStarted
from experiments.duel import Duel
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.store import Store
from experiments.study import ProfileStudy, ScanStudy
from experiments.worker import execute, newest_artifact
from intake.library import MODEL_FILE, OwnModel, own_folder
from intake.preprocessing import Preprocessing
from intake.sources import OnnxFile
from tests.experiments.profiled import profiled
from tests.pages.left_behind import finished, measured, running

RECIPE = Recipe(model="resnet_fmnist", seed=3)
VARIANT = Recipe(model="resnet_fmnist", seed=3, runtime="onnxruntime")
RESULT = measured(RECIPE, wrong=1, p50_ms=1.0, size_bytes=1000)

SEEN: dict[str, Callable[[Store, str, RunRecord], Any]] = {
    "run": lambda store, run_id, _: store.run(run_id),
    "runs": lambda store, _, record: store.runs() + store.runs(digest=record.recipe.digest, states=("finished",)),
    "ended": lambda store, *_: store.ended(limit=9),
    "finished_before": lambda store, _, record: store.finished_before(record.recipe),
    "queue": lambda store, *_: store.queue(),
    "measured": lambda store, *_: store.measured(),
    "variants": lambda store, *_: store.variants(RECIPE.model, RECIPE.settings, limit=9),
    "simulated": lambda store, *_: store.simulated(RECIPE.model),
    "count": lambda store, *_: store.count() + store.count(states=("finished",)),
    "result": lambda store, run_id, _: store.result(run_id),
    "results": lambda store, run_id, _: store.results([run_id]),
    "duel_result": lambda store, run_id, _: store.duel_result(run_id),
    "duels": lambda store, *_: store.duels(RECIPE.model),
    "studies": lambda store, _, record: store.studies(record.study or ScanStudy(), record.recipe),
    "profiles": lambda store, *_: store.profiles(RECIPE.model),
    "scans": lambda store, *_: store.scans(RECIPE.model),
    "profile_result": lambda store, run_id, _: store.profile_result(run_id),
    "scan_result": lambda store, run_id, _: store.scan_result(run_id),
    "simulated_results": lambda store, run_id, _: store.simulated_results([run_id]),
    "ahead_result": lambda store, run_id, _: store.ahead_result(run_id),
    "at_work": lambda store, *_: store.at_work(),
    "events": lambda store, run_id, _: store.events(run_id),
    "newest_events": lambda store, run_id, _: store.newest_events(run_id, "note", limit=5),
}
"""How each method that reads is asked for a run that somebody else made."""
DONE: dict[str, Callable[[Store, str], Any]] = {
    "claim": lambda store, run_id: store.claim(run_id, os.getpid()),
    "finish": lambda store, run_id: store.finish(run_id, RESULT),
    "fail": lambda store, run_id: store.fail(run_id, "because"),
    "cancel": lambda store, run_id: store.cancel(run_id),
    "request_cancel": lambda store, run_id: store.request_cancel(run_id),
    "delete": lambda store, run_id: store.delete(run_id),
}
"""How each method that changes a run is asked to change somebody else's."""
NEITHER = {
    "close", "for_owner", "enqueue", "enqueue_duel", "enqueue_study", "begin_here", "resume", "resume_here",
    "waits_for", "is_timing", "append", "begin_again",
}  # fmt: skip
"""Those below, `append`, which only the process of a run calls, and `begin_again`, which only the scheduler calls."""


def people(store: Store) -> tuple[Store, Store]:
    return store.for_owner("ada"), store.for_owner("bob")


def one_of_each(store: Store) -> list[str]:
    """A finished, a running and a queued run, a profile and a scan."""
    ids = [finished(store, RECIPE), running(store, VARIANT), store.enqueue(VARIANT), profiled(store, RECIPE)]
    ids.append(store.enqueue_study(ScanStudy(), RECIPE))
    store.append(ids[2], [Note(text="secret")])
    return ids


def test_every_method_is_covered_here() -> None:
    methods = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert methods == {*SEEN, *DONE, *NEITHER}


def test_nothing_of_another_persons_runs_can_be_read(store: Store) -> None:
    ada, bob = people(store)
    for run_id in one_of_each(ada):
        record = store.run(run_id)
        assert record
        assert record.owner == "ada"
        for name, ask in SEEN.items():
            assert not ask(bob, run_id, record), name
            assert not ask(store.for_owner(""), run_id, record), name
        assert ada.run(run_id) == record
        assert [each.id for each in ada.events(run_id)] == [each.id for each in store.events(run_id)]
    assert (ada.count(), store.count(), len(ada.at_work()), len(ada.measured())) == (5, 5, 1, 1)
    assert len(ada.variants(RECIPE.model, RECIPE.settings, limit=9)) == 1


@pytest.mark.parametrize("name", list(DONE))
def test_nothing_can_be_done_to_another_persons_runs(store: Store, name: str) -> None:
    ada, bob = people(store)
    ids = one_of_each(ada)
    before = [store.run(run_id) for run_id in ids]
    for run_id in ids:
        assert not DONE[name](bob, run_id)
    assert [store.run(run_id) for run_id in ids] == before
    assert store.count() == len(ids)


def test_runs_of_others_are_neither_resumed_nor_fought(store: Store) -> None:
    ada, bob = people(store)
    first, second = finished(ada, RECIPE), finished(ada, VARIANT)
    ada.fail(failed := ada.enqueue(VARIANT), "broken")
    for forbidden in (lambda: bob.resume(failed), lambda: bob.enqueue_duel(Duel(first=first, second=second))):
        with pytest.raises(BadInput):
            forbidden()
    assert ada.run(ada.enqueue_duel(Duel(first=first, second=second))).owner == "ada"


def test_the_same_recipe_of_two_people_has_a_colour_and_a_past_for_each(store: Store) -> None:
    ada, bob = people(store)
    ada.enqueue(VARIANT.model_copy(update={"seed": 9}))
    runs = [store.run(run_id) for run_id in (ada.enqueue(VARIANT), bob.enqueue(VARIANT), store.enqueue(VARIANT))]
    assert [(record.owner, record.slot) for record in runs if record] == [("ada", 2), ("bob", 1), ("", 1)]


def test_a_worker_looks_for_teachers_and_subjects_among_its_owners_runs(store: Store) -> None:
    ada, bob = people(store)
    run_id = finished(ada, VARIANT)
    with pytest.raises(BadInput, match="No run with the digest"):
        newest_artifact(bob, VARIANT.model, VARIANT.digest)
    study = bob.enqueue_study(ProfileStudy(run=run_id), RECIPE)
    store.claim(study, os.getpid())
    record = store.run(study)
    assert record
    assert f"The run {run_id} was deleted" in execute(store, record).sentence


def test_the_queue_counts_the_runs_of_others_without_showing_them(store: Store) -> None:
    ada, bob = people(store)
    running(ada, RECIPE)
    ada.enqueue(VARIANT)
    bob.enqueue(VARIANT)
    last = bob.run(bob.enqueue(RECIPE))
    assert last
    assert bob.waits_for(last) == ["", "", VARIANT.title]
    assert store.waits_for(last) == [RECIPE.title, VARIANT.title, VARIANT.title]
    assert bob.queue()[-1] == last
    assert len(bob.queue()) == 2


def test_pages_leave_the_processor_alone_while_somebody_elses_run_is_timed(store: Store) -> None:
    ada, bob = people(store)
    ada.append(ada.begin_here(RECIPE), [PhaseStarted(title="Latency", timed=True)])
    assert bob.is_timing()


def test_a_model_of_another_person_is_refused_as_one_that_is_not_there(store: Store) -> None:
    ada, bob = people(store)
    key = own_model("ada")
    recipe = Recipe(model=key)
    assert ada.run(ada.enqueue(recipe))
    assert store.enqueue(recipe)
    for enqueue in (bob.enqueue, bob.begin_here, lambda each: bob.enqueue_study(ScanStudy(), each)):
        with pytest.raises(BadInput, match=f"There is no model {key}"):
            enqueue(recipe)
    with pytest.raises(BadInput, match="There is no model own-x-0"):
        bob.enqueue(Recipe(model="own-x-0"))


def own_model(owner: str) -> str:
    """The key of a model that this person brought."""
    model = OwnModel(
        key="own-net-0123456789", title="Net", owner=owner, family="cnn", source=OnnxFile(item="0123456789ab"),
        input=Preprocessing(), labels=("a", "b"), data_title="", counts={"train": 0, "calibrate": 1, "test": 1},
        parameter_count=1, macs=1, size_bytes=1, correct=1, judged=1, added_at=time.time(),
    )  # fmt: skip
    (folder := own_folder(owner) / "models" / model.key).mkdir(parents=True)
    (folder / MODEL_FILE).write_text(model.model_dump_json())
    return model.key


def test_a_database_without_owners_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "older.db"
    store = Store(f"sqlite:///{path}")
    run_id = store.enqueue(RECIPE)
    store.close()
    with sqlite3.connect(path) as old:
        old.execute("DROP INDEX variants_of_owner")
        old.execute("CREATE INDEX variants_of_model ON runs (model)")
        old.execute("ALTER TABLE runs DROP COLUMN owner")
    again = Store(f"sqlite:///{path}")
    assert [record.id for record in again.for_owner("").runs()] == [run_id]
    assert again.for_owner("ada").runs() == []
    with sqlite3.connect(path) as new:
        indices = {row[0] for row in new.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert "variants_of_owner" in indices
    assert "variants_of_model" not in indices
