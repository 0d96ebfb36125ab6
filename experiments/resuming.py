"""Whether a run that ended before its result can go on: what its trainings left in its folder decides it."""

from __future__ import annotations

from pathlib import Path

from core.folders import data_folder
from experiments.run_record import RunRecord, State

RESUMABLE: tuple[State, ...] = ("failed", "cancelled")


def checkpoints(run_id: str) -> list[Path]:
    """The files from which trainings of that run go on."""
    return sorted((data_folder() / "runs" / run_id).glob("*/training-*.pt"))


def can_resume(record: RunRecord) -> bool:
    """Whether it ended before its result and left a checkpoint."""
    return record.state in RESUMABLE and record.makes_variant and bool(checkpoints(record.id))


def delete_checkpoints(run_id: str) -> None:
    """Free their space, once the run has its result, and that of what was cut short while it was written."""
    for path in (*checkpoints(run_id), *(data_folder() / "runs" / run_id).glob("*/training-*.part")):
        path.unlink(missing_ok=True)
