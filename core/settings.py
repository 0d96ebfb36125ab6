"""Fields of a settings model: its controls in the browser, its lines in a recipe, its arguments in Python."""

from __future__ import annotations

from typing import Any

from pydantic import Field

Condition = tuple[str, tuple[Any, ...]]
"""Another field's name, and the values of it under which a field does anything."""


def slider(
    default: float,
    *,
    low: float,
    high: float,
    step: float,
    title: str,
    help: str,
    unit: str = "",
    advanced: bool = False,
    group: str = "",
    only_if: Condition | None = None,
) -> Any:
    """A numeric field drawn as a slider; values outside [low, high] are refused.

    A `unit` that begins with `of`, such as `of weights`, tells a share between 0 and 1; it is drawn in percent.
    Fields of one `group` lie together behind its name; `advanced` is the group `Advanced`. A field is hidden, and keeps
    its value, where the setting that `only_if` names has none of its values; that setting has to come before it.
    """
    extra: dict[str, Any] = {"widget": "slider", "step": step, "unit": unit, **_place(group, advanced, only_if)}
    return Field(default, ge=low, le=high, title=title, description=help, json_schema_extra=extra)


def choice(
    default: Any,
    *,
    title: str,
    help: str,
    labels: dict[str, str] | None = None,
    advanced: bool = False,
    group: str = "",
    only_if: Condition | None = None,
) -> Any:
    """A `Literal` or bool field drawn as a choice; `labels` maps stored values to what is shown."""
    extra: dict[str, Any] = {"widget": "choice", "labels": labels or {}, **_place(group, advanced, only_if)}
    return Field(default, title=title, description=help, json_schema_extra=extra)


def names(*, title: str, help: str, advanced: bool = False, group: str = "", only_if: Condition | None = None) -> Any:
    """A tuple of short texts drawn as one line, separated by commas."""
    extra: dict[str, Any] = {"widget": "names", "unit": "", **_place(group, advanced, only_if)}
    return Field((), max_length=100, title=title, description=help, json_schema_extra=extra)


def text(
    default: str,
    *,
    title: str,
    help: str,
    pattern: str,
    advanced: bool = False,
    group: str = "",
    only_if: Condition | None = None,
) -> Any:
    """A short text drawn as one line; what `pattern` does not match is refused."""
    extra: dict[str, Any] = {"widget": "text", "unit": "", **_place(group, advanced, only_if)}
    return Field(default, max_length=100, pattern=pattern, title=title, description=help, json_schema_extra=extra)


def variants(
    *, title: str, help: str, advanced: bool = False, group: str = "", only_if: Condition | None = None
) -> Any:
    """A tuple of recipe digests, drawn as a selection of the model's finished variants."""
    extra: dict[str, Any] = {"widget": "variants", "unit": "", **_place(group, advanced, only_if)}
    return Field((), max_length=8, title=title, description=help, json_schema_extra=extra)


def other_model(
    *, title: str, help: str, advanced: bool = False, group: str = "", only_if: Condition | None = None
) -> Any:
    """The key of another model, drawn as a choice of those that fit; empty for none."""
    extra: dict[str, Any] = {"widget": "model", "unit": "", **_place(group, advanced, only_if)}
    return Field("", max_length=100, pattern="^[a-z0-9_-]*$", title=title, description=help, json_schema_extra=extra)


def _place(group: str, advanced: bool, only_if: Condition | None) -> dict[str, Any]:
    return {"group": "Advanced" if advanced else group, "only_if": only_if}
