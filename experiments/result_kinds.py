"""Of what class the result of a run is: of a variant, a simulation, a build for another GPU, a duel or a study."""

from __future__ import annotations

from typing import TypeAlias

from experiments.ahead import AheadResult
from experiments.duel import DuelResult
from experiments.profile import ProfileResult
from experiments.result import RunResult
from experiments.run_record import RunRecord
from experiments.scan import ScanResult
from experiments.simulation import SimulatedResult

Result: TypeAlias = RunResult | DuelResult | SimulatedResult | AheadResult | ProfileResult | ScanResult


def kind_of_result(record: RunRecord) -> type[Result]:
    """The class of what the run finds."""
    if record.study:
        return ProfileResult if record.study.kind == "profile" else ScanResult
    if record.duel:
        return DuelResult
    if record.recipe.engine.builds_ahead:
        return AheadResult
    return SimulatedResult if record.recipe.is_simulated else RunResult
