"""What all parts of the store stand on: the database, whose view of it this is, and rows as records."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import sqlalchemy as sa
from pydantic import TypeAdapter

from experiments.ahead import AheadSummary
from experiments.duel import Duel
from experiments.recipe import Recipe
from experiments.result import Summary
from experiments.run_record import RunRecord
from experiments.schema import RUNS, prepare
from experiments.simulation import SimulatedSummary
from experiments.study import Study

DUEL = "duel"
"""Stands in the place of a recipe's digest, so that no duel is taken for a run of its recipe."""
NEWEST_FIRST = (RUNS.c.created_at.desc(), RUNS.c.id.desc())
IS_DUEL = RUNS.c.duel.is_not(None)
IS_VARIANT = (RUNS.c.duel.is_(None), RUNS.c.study.is_(None))
IS_PROFILE, IS_SCAN = (RUNS.c.study["kind"].as_string() == kind for kind in ("profile", "scan"))

_STUDY: TypeAdapter[Study] = TypeAdapter(Study)
_PARTS = (("duel", Duel), ("summary", Summary), ("simulated", SimulatedSummary), ("ahead", AheadSummary))
"""What a row holds beside the recipe, as plain data; a row has one summary of one kind."""


class StoreView:
    """Runs behind one SQLAlchemy engine, everyone's or, after `for_owner`, one person's."""

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

    def for_owner(self, owner: str) -> Self:
        """The same store as this person sees it: every other run is as if it were not there, whatever is asked.

        What it inserts is theirs, and has to start from a model that they may use.
        """
        view = copy.copy(self)
        view._owner = owner
        return view

    def _for_everyone(self) -> Self:
        view = copy.copy(self)
        view._owner = None
        return view

    @property
    def _visible(self) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions under which a run can be seen."""
        return () if self._owner is None else (RUNS.c.owner == self._owner,)

    def run(self, run_id: str) -> RunRecord | None:
        """One run, or None."""
        rows = self._select(RUNS.c.id == run_id)
        return rows[0] if rows else None

    def _select(
        self, *where: sa.ColumnElement[bool], order: Sequence[Any] = NEWEST_FIRST, limit: int = 1, offset: int = 0
    ) -> list[RunRecord]:
        with self._engine.connect() as connection:
            chosen = RUNS.select().where(*where, *self._visible)
            rows = connection.execute(chosen.order_by(*order).limit(limit).offset(offset))
            return [_record(row) for row in rows]


def _relax_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


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
