"""Where runs and their events are kept: SQLite in WAL mode by default, any SQLAlchemy URL otherwise.

Workers write, pages read. States: queued -> running -> finished | failed | cancelled. Each run is somebody's, or
nobody's where nobody has to say who they are; pages see the store through `Store.for_owner`. This file is the life of a
run; what is asked of runs, results and events stands in `store_runs`, `store_results` and `store_events`.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from typing import Any

import psutil
import sqlalchemy as sa

from core.errors import BadInput
from core.folders import data_folder
from experiments.duel import Duel, DuelResult
from experiments.models import check_usable
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.result_kinds import Result
from experiments.resuming import can_resume
from experiments.run_record import LIVE, State
from experiments.scan import ScanResult
from experiments.schema import EVENTS, RESULTS, RUNS
from experiments.store_events import StoredEvents
from experiments.store_results import StoredResults
from experiments.store_runs import StoredRuns
from experiments.store_view import DUEL
from experiments.study import Study, study_digest


def open_store() -> Store:
    """The store of `STUDIO_STORE_URL`, or `studio.db` in the data folder."""
    return Store(os.environ.get("STUDIO_STORE_URL") or f"sqlite:///{data_folder() / 'studio.db'}")


class Store(StoredRuns, StoredResults, StoredEvents):
    """Runs and events behind one SQLAlchemy engine. Safe to use from several threads and processes.

    It knows everyone's runs, and what it inserts is nobody's; a view of it by `for_owner` knows one person's.
    """

    def enqueue(self, recipe: Recipe) -> str:
        """Put a recipe in the queue; its run id. Raises `BadInput` for a model that this view's owner may not use."""
        return self._insert(recipe, state="queued")

    def enqueue_duel(self, duel: Duel) -> str:
        """Put a duel of two finished runs in the queue; its run id. Raises `BadInput` when one of them has not."""
        records = [self.run(run_id) for run_id in (duel.first, duel.second)]
        first, second = records
        if not (first and first.summary and second and second.summary):
            raise BadInput("A duel with a run that has not finished", expected="two finished runs")
        if first.recipe.measurement.cuda_graph or second.recipe.measurement.cuda_graph:
            raise BadInput("A duel of a run that replays a CUDA graph", expected="runs without one, as duels have none")
        values = {"digest": DUEL, "settings": None, "slot": second.slot, "duel": duel.model_dump(mode="json")}
        return self._insert(second.recipe, state="queued", **values)

    def enqueue_study(self, study: Study, recipe: Recipe) -> str:
        """Put a study of the recipe's network in the queue; its run id."""
        values = {"digest": study_digest(study, recipe), "settings": None, "study": study.model_dump(mode="json")}
        return self._insert(recipe, state="queued", **values, slot=_known_slot_of(recipe, self._owner or ""))

    def begin_here(self, recipe: Recipe) -> str:
        """Record a recipe as running in this process; its run id."""
        return self._insert(recipe, state="running", started_at=time.time(), **_identity(os.getpid()))

    def _insert(self, recipe: Recipe, **values: Any) -> str:
        if self._owner is not None:
            for key in recipe.models:
                check_usable(key, self._owner)
        run_id, owner = uuid.uuid4().hex[:12], self._owner or ""
        with self._engine.begin() as connection:
            row = {
                "id": run_id, "recipe": recipe.model_dump(mode="json"), "digest": recipe.digest, "model": recipe.model,
                "device": recipe.device, "settings": recipe.settings if recipe.is_timed else None,
                "created_at": time.time(), "cancel_requested": False, "slot": _slot_of(recipe, owner), "owner": owner,
                **values,
            }  # fmt: skip
            connection.execute(RUNS.insert().values(**row))
        return run_id

    def claim(self, run_id: str, pid: int) -> bool:
        """Give a queued run to a process of this machine; False when another was quicker."""
        values = {"state": "running", "started_at": time.time(), **_identity(pid)}
        return self._move(run_id, ("queued",), values)

    def finish(self, run_id: str, result: Result) -> bool:
        """Record a result."""
        summary = None
        if not isinstance(result, DuelResult | ProfileResult | ScanResult):
            summary = result.summary().model_dump(mode="json")
        values = {"state": "finished", "ended_at": time.time(), "summary": summary}
        running = (RUNS.c.id == run_id, RUNS.c.state == "running", *self._visible)
        with self._engine.begin() as connection:
            if connection.execute(RUNS.update().where(*running).values(**values)).rowcount != 1:
                return False
            connection.execute(RESULTS.insert().values(run_id=run_id, content=result.model_dump(mode="json")))
        return True

    def fail(self, run_id: str, error: str, details: str = "") -> bool:
        """Record a failure in one sentence, unless the run has ended already."""
        values = {"state": "failed", "ended_at": time.time(), "error": error, "details": details}
        return self._move(run_id, LIVE, values)

    def cancel(self, run_id: str) -> bool:
        """Record that a run was cancelled, unless it has ended already."""
        return self._move(run_id, LIVE, {"state": "cancelled", "ended_at": time.time()})

    def resume(self, run_id: str) -> None:
        """Put a failed or cancelled run back into the queue, to go on from its checkpoints; its events stay.

        Raises `BadInput` for a run that cannot.
        """
        self._resume(run_id, {"state": "queued", "started_at": None, "host": None, "pid": None})

    def resume_here(self, run_id: str) -> None:
        """The same, as a run of this process."""
        self._resume(run_id, {"state": "running", "started_at": time.time(), **_identity(os.getpid())})

    def _resume(self, run_id: str, values: dict[str, Any]) -> None:
        record = self.run(run_id)
        cleared = {"created_at": time.time(), "ended_at": None, "error": None, "details": None}
        values = {**cleared, "cancel_requested": False, **values}
        if record is None or not can_resume(record) or not self._move(run_id, (record.state,), values):
            raise BadInput(
                f"The run {run_id} {f'is {record.state}' if record else 'is not here'} and cannot go on",
                expected="a failed or cancelled run with a training in it that left a checkpoint",
                action="Run its recipe again",
            )

    def begin_again(self, run_id: str) -> bool:
        """Put a run whose process is gone back into the queue, in its place; its events stay."""
        return self._move(run_id, ("running",), {"state": "queued", "started_at": None, "host": None, "pid": None})

    def request_cancel(self, run_id: str) -> None:
        """Cancel a queued run at once; ask the scheduler to stop a running one."""
        cancelled = {"state": "cancelled", "ended_at": time.time()}
        if not self._move(run_id, ("queued",), cancelled):
            self._move(run_id, ("running",), {"cancel_requested": True})

    def _move(self, run_id: str, states: Sequence[State], values: dict[str, Any]) -> bool:
        alike = (RUNS.c.id == run_id, RUNS.c.state.in_(states), *self._visible)
        with self._engine.begin() as connection:
            return connection.execute(RUNS.update().where(*alike).values(**values)).rowcount == 1

    def delete(self, run_id: str) -> None:
        """Forget an ended run and its events; its folder is the caller's."""
        ended = sa.select(RUNS.c.id).where(RUNS.c.id == run_id, RUNS.c.state.notin_(LIVE), *self._visible)
        with self._engine.begin() as connection:
            for dependent in (EVENTS, RESULTS):
                connection.execute(dependent.delete().where(dependent.c.run_id.in_(ended)))
            connection.execute(RUNS.delete().where(RUNS.c.id.in_(ended)))


def _identity(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "process_started_at": psutil.Process(pid).create_time()}


def _slot_of(recipe: Recipe, owner: str) -> Any:
    """The number of a recipe among the owner's variants of its model: the one it had before, or the next.

    Part of the insertion.
    """
    if recipe.is_baseline:
        return 0
    alike = (RUNS.c.model == recipe.model, RUNS.c.owner == owner)
    next_one = sa.select(sa.func.coalesce(sa.func.max(RUNS.c.slot), 0) + 1).where(*alike)
    return sa.func.coalesce(_earlier_slot_of(recipe, owner), next_one.scalar_subquery())


def _known_slot_of(recipe: Recipe, owner: str) -> Any:
    """The number that the recipe has among its model's variants, or that of the baseline where it never ran."""
    return sa.func.coalesce(_earlier_slot_of(recipe, owner), 0)


def _earlier_slot_of(recipe: Recipe, owner: str) -> Any:
    alike = (RUNS.c.digest == recipe.digest, RUNS.c.owner == owner)
    return sa.select(RUNS.c.slot).where(*alike).limit(1).scalar_subquery()
