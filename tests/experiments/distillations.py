"""Reports of distillations as a technique would leave them, with answers drawn at random."""

from __future__ import annotations

import numpy as np

from core.distillation import DistillationReport, SeedOutcome
from core.packed import Packed
from sample_models import test_split

MODEL = "resnet_fmnist"
CLASSES = 10
SHOWN = 6
GAINING = ((60, 20), (75, 22), (66, 18))
"""Images that only the taught student gets right and only the student alone, seed by seed."""


def report(*, pairs: tuple[tuple[int, int], ...] = GAINING, images: int | None = None) -> DistillationReport:
    """A teacher that is right on 94 % of the model's test images and a student that follows it on most."""
    noise = np.random.default_rng(0)
    targets = test_split(MODEL).targets[:images]
    teacher = np.where(noise.random(len(targets)) < 0.94, targets, noise.integers(0, CLASSES, len(targets)))
    student = np.where(noise.random(len(targets)) < 0.95, teacher, noise.integers(0, CLASSES, len(targets)))
    shown = np.flatnonzero(teacher != student)[:SHOWN]
    return DistillationReport(
        teacher="ResNet, as loaded",
        student="Tiny depthwise CNN",
        loss="Soft targets at temperature 4, alpha 0.9",
        temperature=4,
        alpha=0.9,
        teacher_parameters=684_000,
        student_parameters=9_200,
        test_images=len(targets),
        teacher_classes=Packed.of(teacher, "<u2"),
        student_classes=Packed.of(student, "<u2"),
        shown=Packed.of(shown, "<u4"),
        teacher_logits=_logits(teacher[shown], noise),
        student_logits=_logits(student[shown], noise),
        seeds=tuple(_seed(seed, *pair) for seed, pair in enumerate(pairs)),
    )


def _logits(classes: np.ndarray, noise: np.random.Generator) -> Packed:
    drawn = noise.normal(0, 1, (len(classes), CLASSES))
    drawn[np.arange(len(classes)), classes] = 6
    return Packed.of(drawn.ravel(), "<i4", 10_000)


def _seed(seed: int, only_taught: int, only_alone: int) -> SeedOutcome:
    both = 9000
    return SeedOutcome(
        seed=seed, taught_correct=both + only_taught, alone_correct=both + only_alone, only_taught_right=only_taught,
        only_alone_right=only_alone,
    )  # fmt: skip
