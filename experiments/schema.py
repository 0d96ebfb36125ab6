"""The store's tables, and how a database of an earlier version becomes one of this version."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from experiments.recipe import Recipe
from experiments.result import RunResult

PATIENCE_SECONDS = 1.0
METADATA = sa.MetaData()
RUNS = sa.Table(
    "runs",
    METADATA,
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
    sa.Column("settings", sa.String(64)),
    sa.Column("slot", sa.Integer),
    sa.Column("duel", sa.JSON(none_as_null=True)),
    sa.Column("study", sa.JSON(none_as_null=True)),
    sa.Column("summary", sa.JSON(none_as_null=True)),
    sa.Column("owner", sa.String(64), nullable=False, server_default=""),
)
RESULTS = sa.Table(
    "results",
    METADATA,
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("content", sa.JSON, nullable=False),
)
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Index("events_of_run", "run_id", "id"),
)
IS_PHASE = EVENTS.c.kind == sa.literal_column("'phase'")
PHASES = sa.Index(
    "phases_of_run", EVENTS.c.run_id, EVENTS.c.kind, EVENTS.c.id, sqlite_where=IS_PHASE, postgresql_where=IS_PHASE
)
"""Finds the phase that a run is in without reading its other events, for queries that say `IS_PHASE`."""
VARIANTS = sa.Index(
    "variants_of_owner",
    *(RUNS.c[name] for name in ("model", "state", "settings", "digest", "created_at", "slot", "id", "owner")),
)
"""Holds all that is needed to find the newest run of each recipe, so that no row has to be read for it."""


def prepare(engine: sa.Engine) -> None:
    """Make the tables, or bring those of an earlier version up to date; nothing is lost."""
    METADATA.create_all(engine)
    try:
        _upgrade(engine)
    except sa.exc.DBAPIError:  # another process may be doing the same: what it has done is not there to be done again
        time.sleep(PATIENCE_SECONDS)
        _upgrade(engine)


def _upgrade(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        present = {column["name"] for column in sa.inspect(connection).get_columns("runs")}
        for column in RUNS.columns:
            if column.name not in present:
                added = sa.schema.CreateColumn(column).compile(dialect=engine.dialect)
                connection.execute(sa.text(f"ALTER TABLE runs ADD COLUMN {added}"))
        connection.execute(sa.text("DROP INDEX IF EXISTS variants_of_model"))
        for index in (VARIANTS, PHASES):
            index.create(connection, checkfirst=True)
        if "result" in present:
            _upgrade_from_0_1(connection)
        _renew_digests(connection)


def _upgrade_from_0_1(connection: sa.Connection) -> None:
    """Version 0.1 kept a run's whole result in its row, and derived the rest from the recipe."""
    old = sa.table("runs", sa.column("id"), sa.column("result", sa.JSON))
    results = {row.id: row.result for row in connection.execute(sa.select(old.c.id, old.c.result))}
    states = {row.id: row.state for row in connection.execute(sa.select(RUNS.c.id, RUNS.c.state))}
    slots: dict[tuple[str, str], int] = {}
    for run_id in [row.id for row in connection.execute(sa.select(RUNS.c.id).order_by(RUNS.c.created_at, RUNS.c.id))]:
        recipe = Recipe.model_validate(connection.execute(sa.select(RUNS.c.recipe).where(RUNS.c.id == run_id)).scalar())
        taken = sum(model == recipe.model for model, _ in slots)
        slot = 0 if recipe.is_baseline else slots.setdefault((recipe.model, recipe.digest), taken + 1)
        values: dict[str, Any] = {"settings": recipe.settings, "slot": slot, "digest": recipe.digest}
        if not results[run_id]:
            values |= {"state": "failed", "error": "Its result was not kept."} if states[run_id] == "finished" else {}
        else:
            result = RunResult.model_validate(results[run_id])
            values["summary"] = result.summary().model_dump(mode="json")
            connection.execute(RESULTS.insert().values(run_id=run_id, content=result.model_dump(mode="json")))
        connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(**values))
    connection.execute(sa.text("ALTER TABLE runs DROP COLUMN result"))


def _renew_digests(connection: sa.Connection) -> None:
    """Digests of an earlier version were made in another way: where the newest one differs, all are made anew."""
    runs = sa.select(RUNS.c.id, RUNS.c.recipe, RUNS.c.digest).where(RUNS.c.duel.is_(None), RUNS.c.study.is_(None))
    newest = connection.execute(runs.order_by(RUNS.c.created_at.desc()).limit(1)).first()
    if newest is None or Recipe.model_validate(newest.recipe).digest == newest.digest:
        return
    for row in connection.execute(runs).all():
        digest = Recipe.model_validate(row.recipe).digest
        connection.execute(RUNS.update().where(RUNS.c.id == row.id).values(digest=digest))
