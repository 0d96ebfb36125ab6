"""A settings model drawn as controls: bounds, steps, units and help come from its fields."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args, get_origin

import streamlit as st
from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from core.errors import BadInput

T = TypeVar("T", bound=BaseModel)
SHORT = 40
"""Options whose words have no more characters than this stand side by side, others in a drop-down."""
COLUMN_PIXELS = 220
"""Two controls stand side by side where both can be this wide."""


def controls(start: T, *, key: str) -> T:
    """The settings as they are set on screen, beginning with `start`. Raises `BadInput` on values that do not fit.

    `key` tells one set of controls from another; a new key begins anew from `start`.
    """
    groups: dict[str, dict[str, FieldInfo]] = {"": {}}
    for name, field in type(start).model_fields.items():
        groups.setdefault(_extra(field)["group"], {})[name] = field
    values = _controls(groups.pop(""), start, key)
    for group, fields in groups.items():
        with st.expander(group, key=f"{key}.{group.lower()}"):
            values |= _controls(fields, start, key)
    return _validated(type(start), values)


def _controls(fields: dict[str, FieldInfo], start: BaseModel, key: str) -> dict[str, Any]:
    with st.grid(2, min_column_width=COLUMN_PIXELS, gap=("small", "medium")):
        return {name: _control(field, getattr(start, name), f"{key}.{name}") for name, field in fields.items()}


def _validated(model: type[T], values: dict[str, Any]) -> T:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'together'}: {each['msg']}" for each in error.errors()
        )
        raise BadInput(f"These settings do not fit: {reasons}", action="Change them until they do") from None


def _control(field: FieldInfo, value: Any, key: str) -> Any:
    if _extra(field)["widget"] == "slider":
        return _slider(field, value, key)
    if _extra(field)["widget"] == "names":
        return _names(field, value, key)
    return _toggle(field, value, key) if field.annotation is bool else _choice(field, value, key)


def _slider(field: FieldInfo, value: float, key: str) -> Any:
    kind: type[Any] = int if field.annotation is int else float
    low = next(each.ge for each in field.metadata if isinstance(each, Ge))
    high = next(each.le for each in field.metadata if isinstance(each, Le))
    step = _extra(field)["step"]
    moved = st.slider(
        str(field.title),
        kind(low),
        kind(high),
        kind(value),
        kind(step),
        format=number_format(step, _extra(field)["unit"]),
        help=field.description,
        key=key,
        persist_state="session",
    )
    return kind(moved)


def number_format(step: float, unit: str) -> str:
    """A printf format with as many decimals as the step has and the unit behind it.

    >>> number_format(0.05, "%"), number_format(1, "images")
    ('%.2f %%', '%d images')
    """
    decimals = len(f"{step:.6f}".rstrip("0").partition(".")[2])
    number = f"%.{decimals}f" if decimals else "%d"
    return f"{number} {unit.replace('%', '%%')}".rstrip()


def _toggle(field: FieldInfo, value: bool, key: str) -> bool:
    return st.toggle(str(field.title), value, help=field.description, key=key, persist_state="session")


def _choice(field: FieldInfo, value: Any, key: str) -> Any:
    options = options_of(field)
    labels = [str(_extra(field)["labels"].get(str(option), option)) for option in options]
    shown = dict(zip(options, labels, strict=True)).__getitem__
    title, help = str(field.title), field.description
    if sum(map(len, labels)) <= SHORT:
        return st.segmented_control(
            title, options, default=value, required=True, format_func=shown, help=help, key=key, persist_state="session"
        )
    start = options.index(value)
    return st.selectbox(title, options, start, format_func=shown, help=help, key=key, persist_state="session")


def _names(field: FieldInfo, value: tuple[str, ...], key: str) -> tuple[str, ...]:
    typed = st.text_input(
        str(field.title), ", ".join(value), placeholder="none", help=field.description, key=key,
        persist_state="session",
    )  # fmt: skip
    return split_names(str(typed))


def split_names(typed: str) -> tuple[str, ...]:
    """The names between commas, each once.

    >>> split_names(" head, features.3.* ,, head")
    ('head', 'features.3.*')
    """
    return tuple(dict.fromkeys(name for part in typed.split(",") if (name := part.strip())))


def options_of(field: FieldInfo) -> list[Any]:
    """What a choice offers: a `Literal`'s values, or the keys of its labels for a plain string."""
    if get_origin(field.annotation) is Literal:
        return list(get_args(field.annotation))
    return list(_extra(field)["labels"])


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"{field.title} was not made by slider(), choice() or names()")
    return extra
