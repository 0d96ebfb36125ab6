"""Where runs and their events are kept: SQLite in WAL mode by default, any SQLAlchemy URL otherwise.

Workers write, pages read. States: queued -> running -> finished | failed | cancelled. Each run is somebody's, or
nobody's where nobody has to say who they are; pages see the store through `Store.for_owner`.
"""

from __future__ import annotations

import copy
import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import psutil
import sqlalchemy as sa
from pydantic import TypeAdapter

from core.errors import BadInput
from core.folders import data_folder
from core.progress import Event, parse_event
from experiments.ahead import AheadResult, AheadSummary
from experiments.duel import Duel, DuelResult
from experiments.models import check_usable
from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.result import RunResult, Summary
from experiments.resuming import can_resume
from experiments.scan import ScanResult
from experiments.schema import EVENTS, IS_PHASE, RESULTS, RUNS, prepare
from experiments.simulation import SimulatedResult, SimulatedSummary
from experiments.study import Study, study_digest, study_title

State = Literal["queued", "running", "finished", "failed", "cancelled"]
LIVE: tuple[State, ...] = ("queued", "running")
DUEL = "duel"
"""Stands in the place of a recipe's digest, so that no duel is taken for a run of its recipe."""
NEWEST_FIRST = (RUNS.c.created_at.desc(), RUNS.c.id.desc())


@dataclass(frozen=True)
class RunRecord:
    """One run as the store knows it. Times are seconds since the epoch."""

    id: str
    recipe: Recipe
    """What was asked for; of a duel, the recipe of its second run."""
    duel: Duel | None
    study: Study | None
    """What is asked of the recipe's network instead of making a variant of it."""
    state: State
    cancel_requested: bool
    host: str | None
    pid: int | None
    process_started_at: float | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    error: str | None
    """One sentence for a failed run."""
    details: str | None
    slot: int
    """Which of the model's variants it is, in the order they first came; 0 is the baseline. Decides its colour."""
    summary: Summary | None
    """The headline numbers of a finished run; `Store.result` has everything. None of one that could not be timed."""
    simulated: SimulatedSummary | None
    """What a finished run of a simulated number format knows instead."""
    ahead: AheadSummary | None
    """What a finished run knows instead that built for a GPU which is not here."""
    owner: str = ""
    """Whose it is; empty where nobody had to say who they are."""

    @property
    def title(self) -> str:
        """What it is called in lists."""
        if self.study:
            return study_title(self.study, self.recipe)
        return f"A/B: {self.recipe.title}" if self.duel else self.recipe.title

    @property
    def makes_variant(self) -> bool:
        """Whether it carries out its recipe: neither a duel nor a study."""
        return self.duel is None and self.study is None

    @property
    def is_live(self) -> bool:
        """Still queued or running."""
        return self.state in LIVE


@dataclass(frozen=True)
class StoredEvent:
    """An event and its place in the stream."""

    id: int
    event: Event


@dataclass(frozen=True)
class AtWork:
    """What can be told of a running run without reading its recipe."""

    id: str
    device: str
    host: str | None
    pid: int | None
    process_started_at: float | None
    is_timed: bool
    """Whether it is in a phase in which latency is timed."""


def open_store() -> Store:
    """The store of `STUDIO_STORE_URL`, or `studio.db` in the data folder."""
    return Store(os.environ.get("STUDIO_STORE_URL") or f"sqlite:///{data_folder() / 'studio.db'}")


class Store:
    """Runs and events behind one SQLAlchemy engine. Safe to use from several threads and processes.

    It knows everyone's runs, and what it inserts is nobody's; a view of it by `for_owner` knows one person's.
    """

    def __init__(self, url: str) -> None:
        self._owner: str | None = None
        self._engine = sa.create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _relax_sync)
            self._use_wal_once()
        prepare(self._engine)

    def _use_wal_once(self) -> None:
        with self._engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
                connection.exec_driver_sql("PRAGMA journal_mode=wal")

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def for_owner(self, owner: str) -> Store:
        """The same store as this person sees it: every other run is as if it were not there, whatever is asked.

        What it inserts is theirs, and has to start from a model that they may use.
        """
        view = copy.copy(self)
        view._owner = owner
        return view

    @property
    def _visible(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions under which a run can be seen."""
        return () if self._owner is None else (RUNS.c.owner == self._owner,)

    def _events_of(self, run_id: str) -> sa.ColumnElement[bool]:
        if self._owner is None:
            return EVENTS.c.run_id == run_id
        return EVENTS.c.run_id.in_(sa.select(RUNS.c.id).where(RUNS.c.id == run_id, *self._visible))

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

    def append(self, run_id: str, events: Iterable[Event]) -> None:
        """Add events to a run's stream in one transaction."""
        rows = [{"run_id": run_id, "kind": event.kind, "content": event.model_dump(mode="json")} for event in events]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(EVENTS.insert(), rows)

    def run(self, run_id: str) -> RunRecord | None:
        """One run, or None."""
        rows = self._select(RUNS.c.id == run_id)
        return rows[0] if rows else None

    def runs(
        self,
        *,
        states: Sequence[State] = (),
        model: str | None = None,
        digest: str | None = None,
        between: tuple[float, float] | None = None,
        limit: int = 500,
        offset: int = 0,
    ) -> list[RunRecord]:
        """Runs, newest first; `between` are seconds since the epoch within which they were queued."""
        where: list[sa.ColumnElement[bool]] = [RUNS.c.state.in_(states)] if states else []
        where += [RUNS.c.model == model] if model else []
        where += [RUNS.c.digest == digest] if digest else []
        where += [RUNS.c.created_at.between(*between)] if between else []
        return self._select(*where, limit=limit, offset=offset)

    def ended(self, *, limit: int, offset: int = 0) -> list[RunRecord]:
        """Runs that have ended, however they did, newest first."""
        return self._select(RUNS.c.state.notin_(LIVE), limit=limit, offset=offset)

    def finished_before(self, recipe: Recipe) -> RunRecord | None:
        """The newest finished run of exactly this recipe."""
        return next(iter(self.runs(states=("finished",), digest=recipe.digest, limit=1)), None)

    def queue(self) -> list[RunRecord]:
        """Queued runs, the next one first."""
        return self._select(RUNS.c.state == "queued", order=(RUNS.c.created_at, RUNS.c.id), limit=500)

    def waits_for(self, record: RunRecord) -> list[str]:
        """The titles of what runs or waits before it on its device, the next one first; empty ones for other people's.

        Everyone's runs count, in any view.
        """
        earlier = (RUNS.c.state == "queued") & (RUNS.c.created_at < record.created_at)
        at_work = (RUNS.c.state == "running") | earlier
        order = (RUNS.c.state != "running", RUNS.c.created_at, RUNS.c.id)
        found = self._for_everyone()._select(RUNS.c.device == record.recipe.device, at_work, order=order, limit=500)
        return [each.title if self._owner in (None, each.owner) else "" for each in found if each.id != record.id]

    def _for_everyone(self) -> Store:
        view = copy.copy(self)
        view._owner = None
        return view

    def measured(self) -> list[tuple[str, str]]:
        """Model and `Recipe.settings` of all finished runs that were timed, those with the newest run first."""
        newest = sa.func.max(RUNS.c.created_at).desc()
        of_recipes = (RUNS.c.state == "finished", RUNS.c.settings.is_not(None), *self._visible)
        statement = sa.select(RUNS.c.model, RUNS.c.settings).where(*of_recipes)
        with self._engine.connect() as connection:
            rows = connection.execute(statement.group_by(RUNS.c.model, RUNS.c.settings).order_by(newest))
            return [(row.model, row.settings) for row in rows]

    def variants(self, model: str, settings: str, *, limit: int) -> list[RunRecord]:
        """The newest finished run of each recipe of a model measured in one way: baselines first, then the newest."""
        return self._newest_of_each_recipe(RUNS.c.model == model, RUNS.c.settings == settings, limit=limit)

    def simulated(self, model: str, *, limit: int = 100) -> list[RunRecord]:
        """The newest finished run of each recipe of a model that simulates a number format, the newest first."""
        untimed = (RUNS.c.model == model, RUNS.c.settings.is_(None), *_IS_VARIANT)
        found = self._newest_of_each_recipe(*untimed, limit=limit)
        return [record for record in found if record.recipe.is_simulated]

    def _newest_of_each_recipe(self, *where: sa.ColumnElement[bool], limit: int) -> list[RunRecord]:
        """Finished runs, baselines first, then the newest."""
        place = sa.func.row_number().over(partition_by=RUNS.c.digest, order_by=RUNS.c.created_at.desc())
        alike = (*where, RUNS.c.state == "finished", *self._visible)
        columns = (RUNS.c.id, RUNS.c.slot, RUNS.c.created_at, place.label("place"))
        ranked = sa.select(*columns).where(*alike).subquery()
        order = (ranked.c.slot != 0, ranked.c.created_at.desc())
        newest = sa.select(ranked.c.id).where(ranked.c.place == 1).order_by(*order).limit(limit)
        baselines_first = (RUNS.c.slot != 0, *NEWEST_FIRST)
        return self._select(RUNS.c.id.in_(newest), order=baselines_first, limit=limit)

    def _select(
        self, *where: sa.ColumnElement[bool], order: Sequence[Any] = NEWEST_FIRST, limit: int = 1, offset: int = 0
    ) -> list[RunRecord]:
        with self._engine.connect() as connection:
            chosen = RUNS.select().where(*where, *self._visible)
            rows = connection.execute(chosen.order_by(*order).limit(limit).offset(offset))
            return [_record(row) for row in rows]

    def count(self, *, states: Sequence[State] = ()) -> int:
        """How many runs there are, or how many in these states."""
        where = [RUNS.c.state.in_(states)] if states else []
        with self._engine.connect() as connection:
            chosen = sa.select(sa.func.count()).select_from(RUNS).where(*where, *self._visible)
            return int(connection.execute(chosen).scalar_one())

    def result(self, run_id: str) -> RunResult | None:
        """Everything measured in a finished run; None for another."""
        return self.results([run_id]).get(run_id)

    def duel_result(self, run_id: str) -> DuelResult | None:
        """Every round of a finished duel; None for another run."""
        found = self._contents([run_id], RUNS.c.duel.is_not(None))
        return DuelResult.model_validate(found[run_id]) if found else None

    def duels(self, model: str, *, limit: int = 100) -> list[RunRecord]:
        """The duels of a model's variants, newest first."""
        return self._select(RUNS.c.model == model, RUNS.c.digest == DUEL, limit=limit)

    def studies(self, study: Study, recipe: Recipe) -> list[RunRecord]:
        """The runs that ask exactly this of the recipe's network, the newest first."""
        return self._select(RUNS.c.digest == study_digest(study, recipe), limit=20)

    def profiles(self, model: str, *, limit: int = 100) -> list[RunRecord]:
        """The finished profiles of a model, the newest first."""
        return self._select(RUNS.c.model == model, _IS_PROFILE, RUNS.c.state == "finished", limit=limit)

    def scans(self, model: str, *, limit: int = 20) -> list[RunRecord]:
        """The scans of a model's layers that work, wait or have finished, the newest first."""
        at_hand = RUNS.c.state.in_(("finished", *LIVE))
        return self._select(RUNS.c.model == model, _IS_SCAN, at_hand, limit=limit)

    def profile_result(self, run_id: str) -> ProfileResult | None:
        """What a finished profile found; None for another run."""
        found = self._contents([run_id], _IS_PROFILE)
        return ProfileResult.model_validate(found[run_id]) if found else None

    def scan_result(self, run_id: str) -> ScanResult | None:
        """What a finished scan found; None for another run."""
        found = self._contents([run_id], _IS_SCAN)
        return ScanResult.model_validate(found[run_id]) if found else None

    def results(self, run_ids: Sequence[str]) -> dict[str, RunResult]:
        """Everything measured, by id, for those of the runs that have finished: neither duels nor simulated ones."""
        found = self._contents(run_ids, RUNS.c.settings.is_not(None))
        return {run_id: RunResult.model_validate(content) for run_id, content in found.items()}

    def simulated_results(self, run_ids: Sequence[str]) -> dict[str, SimulatedResult]:
        """Everything known, by id, of those of the runs that simulated a number format and have finished."""
        found = self._contents(run_ids, RUNS.c.settings.is_(None), *_IS_VARIANT)
        return {run_id: SimulatedResult.model_validate(content) for run_id, content in found.items()}

    def ahead_result(self, run_id: str) -> AheadResult | None:
        """What a finished build for another GPU knows; None for another run."""
        record = self.run(run_id)
        found = self._contents([run_id]) if record and record.ahead else {}
        return AheadResult.model_validate(found[run_id]) if found else None

    def _contents(self, run_ids: Sequence[str], *where: sa.ColumnElement[bool]) -> dict[str, Any]:
        joined = sa.select(RESULTS).join(RUNS, RUNS.c.id == RESULTS.c.run_id)
        joined = joined.where(RESULTS.c.run_id.in_(run_ids), *where, *self._visible)
        with self._engine.connect() as connection:
            return {row.run_id: row.content for row in connection.execute(joined)}

    def is_timing(self) -> bool:
        """Whether some run, whoever's, has its latency timed, and pages should leave the processor alone."""
        return any(each.is_timed for each in self._for_everyone().at_work())

    def at_work(self) -> list[AtWork]:
        """The running runs; cheap enough to be asked five times a second."""
        columns = (RUNS.c.id, RUNS.c.device, RUNS.c.host, RUNS.c.pid, RUNS.c.process_started_at)
        phases = sa.select(EVENTS.c.content).where(EVENTS.c.run_id == RUNS.c.id, IS_PHASE)
        newest = phases.order_by(EVENTS.c.id.desc()).limit(1).correlate(RUNS).scalar_subquery()
        statement = sa.select(*columns, newest.label("phase")).where(RUNS.c.state == "running", *self._visible)
        with self._engine.connect() as connection:
            rows = connection.execute(statement)
            return [AtWork(*row[:-1], is_timed=bool(row.phase and row.phase["timed"])) for row in rows]

    def newest_events(self, run_id: str, kind: str, *, limit: int) -> list[StoredEvent]:
        """The last events of one kind of a run, in order."""
        of_kind = EVENTS.select().where(self._events_of(run_id), EVENTS.c.kind == kind)
        with self._engine.connect() as connection:
            rows = connection.execute(of_kind.order_by(EVENTS.c.id.desc()).limit(limit)).all()
            return [StoredEvent(row.id, parse_event(row.content)) for row in reversed(rows)]

    def events(self, run_id: str, *, after: int = 0, kinds: Sequence[str] = ()) -> list[StoredEvent]:
        """A run's events in order, those after the event id `after`, of the given kinds or all."""
        where = [self._events_of(run_id), EVENTS.c.id > after]
        where += [EVENTS.c.kind.in_(kinds)] if kinds else []
        with self._engine.connect() as connection:
            rows = connection.execute(EVENTS.select().where(*where).order_by(EVENTS.c.id))
            return [StoredEvent(row.id, parse_event(row.content)) for row in rows]

    def delete(self, run_id: str) -> None:
        """Forget an ended run and its events; its folder is the caller's."""
        ended = sa.select(RUNS.c.id).where(RUNS.c.id == run_id, RUNS.c.state.notin_(LIVE), *self._visible)
        with self._engine.begin() as connection:
            for dependent in (EVENTS, RESULTS):
                connection.execute(dependent.delete().where(dependent.c.run_id.in_(ended)))
            connection.execute(RUNS.delete().where(RUNS.c.id.in_(ended)))


Result: TypeAlias = RunResult | DuelResult | SimulatedResult | AheadResult | ProfileResult | ScanResult

_PARTS = (("duel", Duel), ("summary", Summary), ("simulated", SimulatedSummary), ("ahead", AheadSummary))
"""What a row holds beside the recipe, as plain data; a row has one summary of one kind."""


_STUDY: TypeAdapter[Study] = TypeAdapter(Study)
_IS_VARIANT = (RUNS.c.duel.is_(None), RUNS.c.study.is_(None))
_IS_PROFILE, _IS_SCAN = (RUNS.c.study["kind"].as_string() == kind for kind in ("profile", "scan"))


def _relax_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


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


def _record(row: sa.Row[Any]) -> RunRecord:
    values = dict(row._mapping)
    for unused in ("digest", "model", "device", "settings"):
        values.pop(unused)
    values["recipe"] = Recipe.model_validate(values["recipe"])
    recipe, summary = values["recipe"], values.pop("summary")
    values["ahead" if recipe.engine.builds_ahead else "simulated" if recipe.is_simulated else "summary"] = summary
    values["study"] = _STUDY.validate_python(values["study"]) if values["study"] else None
    for name, kind in _PARTS:
        values[name] = kind.model_validate(values[name]) if values.get(name) else None
    return RunRecord(**values)
