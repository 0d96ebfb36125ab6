"""What runs said while they were at work, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from core.progress import Event, parse_event
from experiments.run_record import StoredEvent
from experiments.schema import EVENTS, RUNS
from experiments.store_view import StoreView


class StoredEvents(StoreView):
    """The part of the store that keeps the streams of events."""

    def append(self, run_id: str, events: Iterable[Event]) -> None:
        """Add events to a run's stream in one transaction."""
        rows = [{"run_id": run_id, "kind": event.kind, "content": event.model_dump(mode="json")} for event in events]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(EVENTS.insert(), rows)

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

    def _events_of(self, run_id: str) -> sa.ColumnElement[bool]:
        if self._owner is None:
            return EVENTS.c.run_id == run_id
        return EVENTS.c.run_id.in_(sa.select(RUNS.c.id).where(RUNS.c.id == run_id, *self._visible))
