"""What every section of the Profile page draws from."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.profile import ProfileResult
from experiments.recipe import Recipe
from experiments.run_record import RunRecord


@dataclass(frozen=True)
class Subject:
    """One finished profile."""

    record: RunRecord
    """Of the profile itself."""
    result: ProfileResult

    @property
    def recipe(self) -> Recipe:
        """Whose variant was profiled."""
        return self.record.recipe
