"""What is counted of a model's examples, of a run or of a table of variants, in words."""

from __future__ import annotations

from typing import Any

import pandas as pd

from core.judging import LABELLED, Judging
from experiments.models import judging_of
from experiments.run_record import RunRecord


def of_record(record: RunRecord) -> Judging:
    """As the run counted it, which outlives its model; before there is a result as its model will be."""
    if record.summary:
        return record.summary.judging
    return record.simulated.judging if record.simulated else judging_of(record.recipe.model)


def of_frame(frame: pd.DataFrame) -> Judging:
    """As the variants of one model, rows of `experiments.compare.variants`, were counted."""
    return LABELLED if frame.empty else of_row(frame.iloc[0])


def of_row(row: pd.Series[Any]) -> Judging:
    """As one of these rows was counted; tables that do not say it hold images with labels."""
    return Judging(row["metric"], row["unit"]) if "metric" in row else LABELLED
