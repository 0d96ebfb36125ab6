"""Which runs there are: every list that pages, the scheduler and the command line ask the store for."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from experiments.recipe import Recipe
from experiments.run_record import LIVE, AtWork, RunRecord, State
from experiments.schema import EVENTS, IS_PHASE, RUNS
from experiments.store_view import DUEL, IS_PROFILE, IS_SCAN, IS_VARIANT, NEWEST_FIRST, StoreView
from experiments.study import Study, study_digest


class StoredRuns(StoreView):
    """The part of the store that finds runs."""

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
        untimed = (RUNS.c.model == model, RUNS.c.settings.is_(None), *IS_VARIANT)
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

    def duels(self, model: str, *, limit: int = 100) -> list[RunRecord]:
        """The duels of a model's variants, newest first."""
        return self._select(RUNS.c.model == model, RUNS.c.digest == DUEL, limit=limit)

    def studies(self, study: Study, recipe: Recipe) -> list[RunRecord]:
        """The runs that ask exactly this of the recipe's network, the newest first."""
        return self._select(RUNS.c.digest == study_digest(study, recipe), limit=20)

    def profiles(self, model: str, *, limit: int = 100) -> list[RunRecord]:
        """The finished profiles of a model, the newest first."""
        return self._select(RUNS.c.model == model, IS_PROFILE, RUNS.c.state == "finished", limit=limit)

    def scans(self, model: str, *, limit: int = 20) -> list[RunRecord]:
        """The scans of a model's layers that work, wait or have finished, the newest first."""
        at_hand = RUNS.c.state.in_(("finished", *LIVE))
        return self._select(RUNS.c.model == model, IS_SCAN, at_hand, limit=limit)

    def count(self, *, states: Sequence[State] = ()) -> int:
        """How many runs there are, or how many in these states."""
        where = [RUNS.c.state.in_(states)] if states else []
        with self._engine.connect() as connection:
            chosen = sa.select(sa.func.count()).select_from(RUNS).where(*where, *self._visible)
            return int(connection.execute(chosen).scalar_one())

    def at_work(self) -> list[AtWork]:
        """The running runs; cheap enough to be asked five times a second."""
        columns = (RUNS.c.id, RUNS.c.device, RUNS.c.host, RUNS.c.pid, RUNS.c.process_started_at)
        phases = sa.select(EVENTS.c.content).where(EVENTS.c.run_id == RUNS.c.id, IS_PHASE)
        newest = phases.order_by(EVENTS.c.id.desc()).limit(1).correlate(RUNS).scalar_subquery()
        statement = sa.select(*columns, newest.label("phase")).where(RUNS.c.state == "running", *self._visible)
        with self._engine.connect() as connection:
            rows = connection.execute(statement)
            return [AtWork(*row[:-1], is_timed=bool(row.phase and row.phase["timed"])) for row in rows]

    def is_timing(self) -> bool:
        """Whether some run, whoever's, has its latency timed, and pages should leave the processor alone."""
        return any(each.is_timed for each in self._for_everyone().at_work())
