"""Whether a technique can work at all in a place, whatever its settings: what no slider can mend is not offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from core.bundle import Situation, form_title
from core.devices import Device
from core.errors import CannotCompose, StudioError
from experiments.models import find
from optimizers import TECHNIQUES
from optimizers.technique import Technique
from runtimes import Runtime

_OF_ITS_KIND = ("itself", "width")
"""Students that have the layers of their teacher."""


def why_unfit(key: str, model: str, runtime: Runtime, device: Device) -> str | None:
    """Why the technique fits the untouched model there with no settings, in a sentence; None where some fit.

    Tried are its usual settings, every single change to them and every two: another choice, a switch turned, a slider
    at either end.
    """
    kind, situation = TECHNIQUES[key], untouched(model, runtime.key, runtime.settings.target(device))
    if known := _known(model, key, runtime.key):
        return known

    def refusal(change: dict[str, Any]) -> str | None:
        return _refusal(kind(**change), situation, runtime)

    reason = refusal({})
    if reason is None or any(refusal(change) is None for change in _changes(kind)):
        return None
    pairs = (first | second for first, second in combinations(_changes(kind), 2))
    return None if any(refusal(change) is None for change in pairs) else reason


def untouched(model: str, runtime: str, device: Device) -> Situation:
    """The situation before the first technique."""
    entry = find(model)
    return Situation(
        entry.family,
        entry.train,
        len(entry.labels),
        device,
        runtime,
        entry.form,
        entry.precision,
        task=entry.task,
        brought_as=entry.form,
        is_own=entry.is_own,
    )


def refuse_known(model: str, key: str, runtime: str, before: Sequence[Technique]) -> None:
    """Raises `CannotCompose` where it was found, when the model was added, that a technique or runtime cannot work.

    A student that took the network's place, in one of the techniques before it, is another network.
    """
    reason = _known(model, key, runtime)
    if reason and all(getattr(technique, "student", "itself") in _OF_ITS_KIND for technique in before):
        raise CannotCompose(reason, action="Leave it out, or choose another model")


def refuse_foreign(technique: type[Technique], situation: Situation) -> None:
    """Raises `CannotCompose` for a model of a form that the technique never works on."""
    if situation.brought_as not in technique.takes:
        raise CannotCompose(
            f"{technique.title} of a model {form_title(situation.brought_as)}",
            expected=_expected(technique),
            action="Leave it out, or choose another model",
        )


def _expected(technique: type[Technique]) -> str:
    """What a model should be, in words.

    ONNX files go unnamed: not every technique that is offered for them can change one.
    """
    return " or ".join(f"a model {form_title(form)}" for form in technique.takes if form != "onnx")


def _known(model: str, key: str, runtime: str) -> str | None:
    """What was found of a technique or a runtime, or of a technique in this runtime alone."""
    refusals = find(model).refusals
    return refusals.get(key) or refusals.get(f"{key}@{runtime}")


def _refusal(technique: Technique, situation: Situation, runtime: Runtime) -> str | None:
    try:
        refuse_foreign(type(technique), situation)
        runtime.check(technique.check(situation))
    except StudioError as error:
        return str(error)
    return None


def _changes(kind: type[Technique]) -> Iterator[dict[str, Any]]:
    for name, field in kind.model_fields.items():
        yield from ({name: value} for value in _others(field) if value != field.default)


def _others(field: FieldInfo) -> tuple[Any, ...]:
    if field.annotation is bool:
        return False, True
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    return tuple(
        limit.ge if isinstance(limit, Ge) else limit.le for limit in field.metadata if isinstance(limit, Ge | Le)
    )
