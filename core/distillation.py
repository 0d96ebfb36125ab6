"""What is known about a student and its teacher: plain data for the result and the pages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from core.packed import Packed, PackedField

Classes = Annotated[Packed, PackedField("<u2")]
Logits = Annotated[Packed, PackedField("<i4", per_unit=10_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SeedOutcome(_Frozen):
    """The same student from the same start on the same batches, with and without the teacher, on test images."""

    seed: int
    taught_correct: int
    alone_correct: int
    only_taught_right: int
    only_alone_right: int


class DistillationReport(_Frozen):
    """What distillation did."""

    teacher: str
    """`ResNet, as loaded`; `Ensemble of 3 variants`."""
    student: str
    loss: str
    """In words, with its settings."""
    temperature: float
    alpha: float
    teacher_parameters: int | None
    """None where the teacher is made of finished variants."""
    student_parameters: int
    test_images: int
    teacher_classes: Classes
    """int [test images]: what the teacher answers."""
    student_classes: Classes
    """int [test images]: what the student that ships answers, in float."""
    shown: Annotated[Packed, PackedField("<u4")]
    """int [S]: rows of the test images whose logits follow."""
    teacher_logits: Logits
    """float [S x classes]; rows with very large ones are moved by a constant, which no softmax sees."""
    student_logits: Logits
    """float [S x classes]."""
    labels_used: bool = True
    """Whether labels counted at all."""
    seeds: tuple[SeedOutcome, ...] = ()
    """Student with and without teacher, seed by seed, the one that ships first; empty without a control."""
