"""Where runs and their events are kept: SQLite in WAL mode by default, any SQLAlchemy URL otherwise.

Workers write, pages read. States: queued -> running -> finished | failed | cancelled.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import sqlalchemy as sa

from core.progress import Event, parse_event
from experiments.recipe import Recipe

State = Literal["queued", "running", "finished", "failed", "cancelled"]
LIVE: tuple[State, ...] = ("queued", "running")

_metadata = sa.MetaData()
_runs = sa.Table(
    "runs",
    _metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("recipe", sa.JSON, nullable=False),
    sa.Column("digest", sa.String(16), nullable=False, index=True),
    sa.Column("model", sa.String(64), nullable=False, index=True),
    sa.Column("device", sa.String(32), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("host", sa.String(255)),
    sa.Column("pid", sa.Integer),
    sa.Column("process_started_at", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("details", sa.Text),
    sa.Column("result", sa.JSON),
)
_events = sa.Table(
    "events",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Index("events_of_run", "run_id", "id"),
)


@dataclass(frozen=True)
class RunRecord:
    """One run as the store knows it. Times are seconds since the epoch."""

    id: str
    recipe: Recipe
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
    result: dict[str, Any] | None
    """`RunResult.model_dump()` of a finished run."""

    @property
    def is_live(self) -> bool:
        """Still queued or running."""
        return self.state in LIVE


@dataclass(frozen=True)
class StoredEvent:
    """An event and its place in the stream."""

    id: int
    event: Event


def data_folder() -> Path:
    """Where runs and logs are kept: `STUDIO_DATA`, or `studio-data` beside the code. Created when missing."""
    folder = Path(os.environ.get("STUDIO_DATA") or Path(__file__).parent.parent / "studio-data").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_folder(run_id: str) -> Path:
    """The folder of one run. Created when missing."""
    folder = data_folder() / "runs" / run_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_store() -> Store:
    """The store of `STUDIO_STORE_URL`, or `studio.db` in the data folder."""
    return Store(os.environ.get("STUDIO_STORE_URL") or f"sqlite:///{data_folder() / 'studio.db'}")


class Store:
    """Runs and events behind one SQLAlchemy engine. Safe to use from several threads and processes."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _relax_sync)
            self._use_wal_once()
        _metadata.create_all(self._engine)

    def _use_wal_once(self) -> None:
        with self._engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
                connection.exec_driver_sql("PRAGMA journal_mode=wal")

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def enqueue(self, recipe: Recipe) -> str:
        """Put a recipe in the queue; its run id."""
        return self._insert(recipe, state="queued")

    def begin_here(self, recipe: Recipe) -> str:
        """Record a recipe as running in this process; its run id."""
        return self._insert(recipe, state="running", started_at=time.time(), **_identity(os.getpid()))

    def _insert(self, recipe: Recipe, **values: Any) -> str:
        run_id = uuid.uuid4().hex[:12]
        with self._engine.begin() as connection:
            connection.execute(
                _runs.insert().values(
                    id=run_id, recipe=recipe.model_dump(mode="json"), digest=recipe.digest, model=recipe.model,
                    device=recipe.device, created_at=time.time(), cancel_requested=False, **values,
                )
            )  # fmt: skip
        return run_id

    def claim(self, run_id: str, pid: int) -> bool:
        """Give a queued run to a process of this machine; False when another was quicker."""
        values = {"state": "running", "started_at": time.time(), **_identity(pid)}
        return self._move(run_id, ("queued",), values)

    def finish(self, run_id: str, result: dict[str, Any]) -> bool:
        """Record a result."""
        return self._move(run_id, ("running",), {"state": "finished", "ended_at": time.time(), "result": result})

    def fail(self, run_id: str, error: str, details: str = "") -> bool:
        """Record a failure in one sentence, unless the run has ended already."""
        values = {"state": "failed", "ended_at": time.time(), "error": error, "details": details}
        return self._move(run_id, LIVE, values)

    def cancel(self, run_id: str) -> bool:
        """Record that a run was cancelled, unless it has ended already."""
        return self._move(run_id, LIVE, {"state": "cancelled", "ended_at": time.time()})

    def request_cancel(self, run_id: str) -> None:
        """Cancel a queued run at once; ask the scheduler to stop a running one."""
        cancelled = {"state": "cancelled", "ended_at": time.time()}
        if not self._move(run_id, ("queued",), cancelled):
            self._move(run_id, ("running",), {"cancel_requested": True})

    def _move(self, run_id: str, states: Sequence[State], values: dict[str, Any]) -> bool:
        statement = _runs.update().where(_runs.c.id == run_id, _runs.c.state.in_(states)).values(**values)
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def append(self, run_id: str, events: Iterable[Event]) -> None:
        """Add events to a run's stream in one transaction."""
        rows = [{"run_id": run_id, "kind": event.kind, "content": event.model_dump(mode="json")} for event in events]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(_events.insert(), rows)

    def run(self, run_id: str) -> RunRecord | None:
        """One run, or None."""
        rows = self._select(_runs.c.id == run_id)
        return rows[0] if rows else None

    def runs(
        self,
        *,
        states: Sequence[State] = (),
        model: str | None = None,
        digest: str | None = None,
        limit: int = 500,
        results: bool = True,
    ) -> list[RunRecord]:
        """Runs, newest first; without `results` these stay on disk and are None, which is much quicker."""
        where: list[sa.ColumnElement[bool]] = [_runs.c.state.in_(states)] if states else []
        where += [_runs.c.model == model] if model else []
        where += [_runs.c.digest == digest] if digest else []
        return self._select(*where, limit=limit, results=results)

    def finished_before(self, recipe: Recipe) -> RunRecord | None:
        """The newest finished run of exactly this recipe."""
        return next(iter(self.runs(states=("finished",), digest=recipe.digest, limit=1)), None)

    def queue(self) -> list[RunRecord]:
        """Queued runs, the next one first."""
        return self.runs(states=("queued",))[::-1]

    def _select(self, *where: sa.ColumnElement[bool], limit: int = 1, results: bool = True) -> list[RunRecord]:
        columns = _runs.c if results else [column for column in _runs.c if column.name != "result"]
        newest_first = (_runs.c.created_at.desc(), _runs.c.id.desc())
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).where(*where).order_by(*newest_first).limit(limit))
            return [_record(row) for row in rows]

    def events(self, run_id: str, *, after: int = 0, kinds: Sequence[str] = ()) -> list[StoredEvent]:
        """A run's events in order, those after the event id `after`, of the given kinds or all."""
        where = [_events.c.run_id == run_id, _events.c.id > after]
        where += [_events.c.kind.in_(kinds)] if kinds else []
        with self._engine.connect() as connection:
            rows = connection.execute(_events.select().where(*where).order_by(_events.c.id))
            return [StoredEvent(row.id, parse_event(row.content)) for row in rows]

    def delete(self, run_id: str) -> None:
        """Forget an ended run and its events; its folder is the caller's."""
        ended = sa.select(_runs.c.id).where(_runs.c.id == run_id, _runs.c.state.notin_(LIVE))
        with self._engine.begin() as connection:
            connection.execute(_events.delete().where(_events.c.run_id.in_(ended)))
            connection.execute(_runs.delete().where(_runs.c.id.in_(ended)))


def _relax_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _identity(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "process_started_at": psutil.Process(pid).create_time()}


def _record(row: sa.Row[Any]) -> RunRecord:
    values = dict(row._mapping)
    for unused in ("digest", "model", "device"):
        values.pop(unused)
    return RunRecord(**({"result": None} | values | {"recipe": Recipe.model_validate(values["recipe"])}))
