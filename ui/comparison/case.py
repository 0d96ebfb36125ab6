"""Two variants, image by image: what the parts of Who pays share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.flips import Answers, Flips, class_names
from experiments.models import contract, test_split
from experiments.result import RunResult
from experiments.run_record import RunRecord
from ui.comparison.selection import Selection


@dataclass(frozen=True, eq=False)
class Case:
    """Two variants, and what changed from the first to the second."""

    before: RunRecord
    after: RunRecord
    flips: Flips
    names: NDArray[np.object_]
    """Of the classes."""

    @property
    def key(self) -> str:
        """Names the pair, for the widgets that belong to it."""
        return f"{self.before.id}.{self.after.id}"


def case_of(selection: Selection, before: RunRecord, after: RunRecord) -> Case:
    """What changed between two runs. Raises `StudioError` where the test images are not those of the runs."""
    answers = [answers_of(selection.results[record.id]) for record in (before, after)]
    names = class_names(contract(selection.model).labels)
    flips = Flips(test_split(selection.model), answers[0], answers[1], selection.judging)
    return Case(before, after, flips, names)


def answers_of(result: RunResult) -> Answers:
    """What a run predicted."""
    return Answers(result.accuracy.predictions.integers, result.accuracy.confidences.array)
