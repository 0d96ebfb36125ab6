"""What a teacher and its student answer: softened probabilities of one image, and where the two agree.

Classes are class[N] of the labelled test images in the order of `profiling.accuracy`, as `sample_models.test_split`
gives them. An image is right when its predicted class is one of its acceptable ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.data import Split
from core.distillation import DistillationReport
from core.errors import BadInput
from core.packed import Numbers
from profiling.statistics import Interval, wilson_interval

Classes = NDArray[np.int64]
OUTCOMES = {
    "both_right": "Both right",
    "only_teacher": "Only the teacher right",
    "only_student": "Only the student right",
    "same_mistake": "Both wrong, the same answer",
    "other_mistake": "Both wrong, different answers",
}


def softened(logits: Numbers, temperature: float) -> Numbers:
    """Probabilities[..., C] of logits[..., C] divided by the temperature (Hinton et al. 2015, arXiv:1503.02531)."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: Numbers = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def entropy_bits(probabilities: Numbers) -> float:
    """Shannon entropy in bits: 0 for a certain answer, log2(C) where all C classes are equally likely."""
    present = probabilities[probabilities > 0]
    return max(0.0, -float(present @ np.log2(present)))


@dataclass(frozen=True, eq=False)
class Answers:
    """What both answer to one test image."""

    image: int
    """Its position among the test images."""
    teacher_logits: Numbers
    """[C]."""
    student_logits: Numbers
    """[C]."""


def shown_answers(report: DistillationReport) -> list[Answers]:
    """The test images whose logits the report keeps, in its order."""
    images = report.shown.integers
    teacher, student = (each.array.reshape(len(images), -1) for each in (report.teacher_logits, report.student_logits))
    return [Answers(int(image), *pair) for image, *pair in zip(images, teacher, student, strict=True)]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Teacher and student on the same images. Raises `BadInput` for answers to other images than the split's."""

    split: Split
    teacher: Classes
    """[N]."""
    student: Classes
    """[N]."""
    classes: int

    def __post_init__(self) -> None:
        if not len(self.split) == len(self.teacher) == len(self.student):
            raise BadInput(
                f"answers of the teacher to {len(self.teacher):,} images, of the student to {len(self.student):,}",
                expected=f"answers to the {len(self.split):,} labelled test images",
                action="Run the recipe again: the test images have changed since",
            )

    @cached_property
    def same(self) -> int:
        """Images that both put into the same class."""
        return int((self.teacher == self.student).sum())

    @property
    def share(self) -> float:
        """Share of the images that both put into the same class."""
        return self.same / len(self.split)

    @property
    def interval(self) -> Interval:
        """95 % Wilson interval of the share."""
        return wilson_interval(self.same, len(self.split))

    @cached_property
    def confusion(self) -> Classes:
        """[C, C]: images that the teacher puts into the row's class and the student into the column's."""
        pairs = np.bincount(self.teacher * self.classes + self.student, minlength=self.classes**2)
        return pairs.reshape(self.classes, self.classes)

    @cached_property
    def outcome(self) -> NDArray[np.str_]:
        """[N]: the key of `OUTCOMES` that each image has."""
        teacher, student = (self.split.is_correct(classes) for classes in (self.teacher, self.student))
        mistakes = np.where(self.teacher == self.student, "same_mistake", "other_mistake")
        one_right = np.where(teacher, "only_teacher", np.where(student, "only_student", mistakes))
        kinds: NDArray[np.str_] = np.where(teacher & student, "both_right", one_right)
        return kinds

    def images(self, outcome: str) -> Classes:
        """Positions of the images with that outcome, ascending."""
        return np.flatnonzero(self.outcome == outcome)

    def counts(self) -> dict[str, int]:
        """Images by outcome, in the order of `OUTCOMES`."""
        return {key: len(self.images(key)) for key in OUTCOMES}

    def by_class(self, names: Any) -> pd.DataFrame:
        """One row a class, the most disputed first: its name, what the teacher and the student put there, agreement.

        `agreement` is the share of the teacher's images that the student puts there too, NaN where there are none;
        `goes_to` the class into which the student puts most of the others.
        """
        rows = self.confusion.sum(axis=1)
        others = self.confusion - np.diag(np.diag(self.confusion))
        goes_to = [names[each.argmax()] if each.any() else "" for each in others]
        table = pd.DataFrame(
            {
                "class": list(names),
                "teacher": rows,
                "student": self.confusion.sum(axis=0),
                "agreement": np.diag(self.confusion) / np.where(rows, rows, np.nan),
                "goes_to": goes_to,
            }
        )
        return table.sort_values("agreement", kind="stable").reset_index(drop=True)


def agreement_of(report: DistillationReport, split: Split, classes: int) -> Agreement:
    """Where teacher and student agree on the split. Raises `BadInput` where it is not what they answered to."""
    return Agreement(split, report.teacher_classes.integers, report.student_classes.integers, classes)
