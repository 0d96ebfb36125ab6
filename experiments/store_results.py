"""What finished runs found, read whole: the raw samples and predictions that lists do without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from experiments.ahead import AheadResult
from experiments.duel import DuelResult
from experiments.profile import ProfileResult
from experiments.result import RunResult
from experiments.scan import ScanResult
from experiments.schema import RESULTS, RUNS
from experiments.simulation import SimulatedResult
from experiments.store_view import IS_DUEL, IS_PROFILE, IS_SCAN, IS_VARIANT, StoreView


class StoredResults(StoreView):
    """The part of the store that reads results."""

    def result(self, run_id: str) -> RunResult | None:
        """Everything measured in a finished run; None for another."""
        return self.results([run_id]).get(run_id)

    def results(self, run_ids: Sequence[str]) -> dict[str, RunResult]:
        """Everything measured, by id, for those of the runs that have finished: neither duels nor simulated ones."""
        found = self._contents(run_ids, RUNS.c.settings.is_not(None))
        return {run_id: RunResult.model_validate(content) for run_id, content in found.items()}

    def simulated_results(self, run_ids: Sequence[str]) -> dict[str, SimulatedResult]:
        """Everything known, by id, of those of the runs that simulated a number format and have finished."""
        found = self._contents(run_ids, RUNS.c.settings.is_(None), *IS_VARIANT)
        return {run_id: SimulatedResult.model_validate(content) for run_id, content in found.items()}

    def ahead_result(self, run_id: str) -> AheadResult | None:
        """What a finished build for another GPU knows; None for another run."""
        record = self.run(run_id)
        found = self._contents([run_id]) if record and record.ahead else {}
        return AheadResult.model_validate(found[run_id]) if found else None

    def duel_result(self, run_id: str) -> DuelResult | None:
        """Every round of a finished duel; None for another run."""
        found = self._contents([run_id], IS_DUEL)
        return DuelResult.model_validate(found[run_id]) if found else None

    def profile_result(self, run_id: str) -> ProfileResult | None:
        """What a finished profile found; None for another run."""
        found = self._contents([run_id], IS_PROFILE)
        return ProfileResult.model_validate(found[run_id]) if found else None

    def scan_result(self, run_id: str) -> ScanResult | None:
        """What a finished scan found; None for another run."""
        found = self._contents([run_id], IS_SCAN)
        return ScanResult.model_validate(found[run_id]) if found else None

    def _contents(self, run_ids: Sequence[str], *where: sa.ColumnElement[bool]) -> dict[str, Any]:
        joined = sa.select(RESULTS).join(RUNS, RUNS.c.id == RESULTS.c.run_id)
        joined = joined.where(RESULTS.c.run_id.in_(run_ids), *where, *self._visible)
        with self._engine.connect() as connection:
            return {row.run_id: row.content for row in connection.execute(joined)}
