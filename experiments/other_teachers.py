"""Which other models can teach in a distillation: those that know the same classes and take images of the same size."""

from __future__ import annotations

from collections.abc import Iterable

from core.bundle import form_title
from experiments.models import contract, find, is_here

TEACHING_FORMS = ("torch", "onnx")
"""What models are that can be asked while a network of PyTorch learns."""


def other_teachers(model: str, keys: Iterable[str]) -> dict[str, str]:
    """Titles, by key, of the models among these that can teach what takes the place of `model`."""
    return {key: find(key).title for key in keys if not why_no_teacher(key, model)}


def why_no_teacher(key: str, model: str) -> str:
    """Why the model of that key cannot teach what takes the place of `model`, in a sentence; empty where it can.

    Both have to classify images of the same size into the same classes, in the same order. How they are normalised may
    differ: each is shown the images as it wants them.
    """
    if key == model:
        return "A model cannot be another teacher of itself: leave that choice empty, and it teaches as it was loaded."
    if not is_here(key):
        return f"The teacher {key} is not here any more. Choose another one."
    teacher, taught = find(key), find(model)
    if {teacher.task, taught.task} != {"images"}:
        return f"{teacher.title} cannot teach {taught.title}: only classifiers of images can teach each other."
    if teacher.form not in TEACHING_FORMS:
        kind = form_title(teacher.form)
        return f"{teacher.title} cannot teach {taught.title}: a model {kind} cannot answer in training."
    if teacher.labels != taught.labels:
        return (
            f"{teacher.title} cannot teach {taught.title}: their classes differ ({_some(teacher.labels)}; "
            f"{_some(taught.labels)})."
        )
    if contract(key).shape != contract(model).shape:
        theirs, ours = (" x ".join(map(str, contract(each).shape)) for each in (key, model))
        return (
            f"{teacher.title} cannot teach {taught.title}: it takes images of {theirs} (channels x height x width), "
            f"and those of this model are kept as {ours}."
        )
    return ""


def _some(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {', '.join(labels[:3])}" + (", ..." if len(labels) > 3 else "")
