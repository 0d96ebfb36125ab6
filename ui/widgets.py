"""A settings model drawn as controls: bounds, steps, units and help come from its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, TypeVar, get_args, get_origin

import streamlit as st
from annotated_types import Ge, Le, MaxLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from core.errors import BadInput
from ui.titles import distinct

T = TypeVar("T", bound=BaseModel)
SHORT = 40
"""Options whose words have no more characters than this stand side by side, others in a drop-down."""
TRAINING = "Training"
"""The group that techniques share, below what is their own."""
TITLES = {TRAINING: "Training in detail"}
"""Of groups that are called otherwise on screen; settings with the same word stand beside them."""
Offered = Mapping[str, Mapping[str, str]]
"""What can be chosen that settings do not know themselves, by the kind of control: titles by what is stored."""
Fitting = Mapping[str, Sequence[str]]
"""The only values of a choice that fit, by the field's name."""
COLUMN_PIXELS = 220
"""Two controls stand side by side where both can be this wide."""


def controls(
    start: T,
    *,
    key: str,
    variants: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
    fitting: Fitting | None = None,
) -> T:
    """The settings as they are set on screen, beginning with `start`. Raises `BadInput` on values that do not fit.

    `key` tells one set of controls from another; a new key begins anew from `start`. `variants` are the titles, by
    digest, of the finished variants that can be chosen, `models` those of other models by their keys. `fitting` are, by
    the field's name, the only values of a choice that fit; where `start` has another, the first of them stands for it.
    What does nothing under the other settings is hidden and stays as it is in `start`.
    """
    values, offered = start.model_dump(), {"variants": variants or {}, "model": models or {}}
    fitting = fitting or {}
    values |= {name: fits[0] for name, fits in fitting.items() if values[name] not in fits}
    for group, fields in grouped(type(start)).items():
        with st.expander(TITLES.get(group, group), key=f"{key}.group.{group.lower()}") if group else nullcontext():
            _draw(fields, values, key, offered, fitting)
    return _validated(type(start), values)


def grouped(model: type[BaseModel]) -> dict[str, dict[str, FieldInfo]]:
    """The fields by group, in the order in which they are drawn: first those of no group, last how it trains."""
    groups: dict[str, dict[str, FieldInfo]] = {"": {}}
    for name, field in model.model_fields.items():
        groups.setdefault(_extra(field)["group"], {})[name] = field
    return dict(sorted(groups.items(), key=lambda item: item[0] == TRAINING))


def takes_variants(model: type[BaseModel]) -> bool:
    """Whether any of its settings is a choice of finished variants."""
    return any(_extra(field)["widget"] == "variants" for field in model.model_fields.values())


def takes_models(model: type[BaseModel]) -> bool:
    """Whether any of its settings is a choice of another model."""
    return any(_extra(field)["widget"] == "model" for field in model.model_fields.values())


def applies(field: FieldInfo, values: Mapping[str, Any]) -> bool:
    """Whether the field does anything when the others have these values."""
    name, wanted = _extra(field).get("only_if") or ("", ())
    return not name or values[name] in wanted


def _draw(fields: dict[str, FieldInfo], values: dict[str, Any], key: str, offered: Offered, fitting: Fitting) -> None:
    """Draw the fields that do something and put what is chosen into `values`."""
    with st.grid(2, min_column_width=COLUMN_PIXELS, gap=("small", "medium")):
        for name, field in fields.items():
            if applies(field, values):
                fits = fitting.get(name, ())
                own = ".".join([key, name, *fits])  # another key, as the control forgets what it offers no more
                values[name] = _control(field, values[name], own, offered, fits)


def _validated(model: type[T], values: dict[str, Any]) -> T:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'together'}: {each['msg']}" for each in error.errors()
        )
        raise BadInput(f"These settings do not fit: {reasons}", action="Change them until they do") from None


def _control(field: FieldInfo, value: Any, key: str, offered: Offered, fits: Sequence[str]) -> Any:
    match _extra(field)["widget"]:
        case "slider":
            return _slider(field, value, key)
        case "names":
            return _names(field, value, key)
        case "text":
            return _text(field, value, key)
        case "variants":
            return _variants(field, value, key, offered["variants"])
        case "model":
            return _model(field, value, key, offered["model"])
    return _toggle(field, value, key) if field.annotation is bool else _choice(field, value, key, fits)


def _slider(field: FieldInfo, value: float, key: str) -> Any:
    """Shares are drawn in percent."""
    unit, step = _extra(field)["unit"], _extra(field)["step"]
    scale, shown = (100, f"% {unit}") if unit.startswith("of ") else (1, "" if _can_be_one(field) else unit)
    kind: type[Any] = int if field.annotation is int else float
    low, high, start, by = (kind(round(scale * each, 9)) for each in (*_bounds(field), value, step))
    moved = st.slider(
        heading(field), low, high, start, by,
        format=number_format(by, shown), help=field.description, key=key, persist_state="session",
    )  # fmt: skip
    return kind(round(moved / scale, 9))


def heading(field: FieldInfo) -> str:
    """What stands above a control: its title, with the unit of what can be a single one: `Training (epochs)`."""
    title, unit = str(field.title), _extra(field).get("unit", "")
    return f"{title} ({unit})" if unit and unit not in title.lower() and _can_be_one(field) else title


def _can_be_one(field: FieldInfo) -> bool:
    """Whether the unit, which is a plural, would be wrong beside one of the numbers."""
    return field.annotation is int and _bounds(field)[0] <= 1 and _extra(field)["unit"].partition(" ")[0].endswith("s")


def _bounds(field: FieldInfo) -> tuple[float, float]:
    """The lowest and the highest value that a slider's field takes."""
    low: Any = next(each.ge for each in field.metadata if isinstance(each, Ge))
    high: Any = next(each.le for each in field.metadata if isinstance(each, Le))
    return low, high


def number_format(step: float, unit: str) -> str:
    """A printf format with as many decimals as the step has and the unit behind it.

    >>> number_format(0.05, "s"), number_format(5.0, "% of weights"), number_format(1, "images")
    ('%.2f s', '%d %% of weights', '%d images')
    """
    decimals = len(f"{step:.6f}".rstrip("0").partition(".")[2])
    number = f"%.{decimals}f" if decimals else "%d"
    return f"{number} {unit.replace('%', '%%')}".rstrip()


def _toggle(field: FieldInfo, value: bool, key: str) -> bool:
    return st.toggle(str(field.title), value, help=field.description, key=key, persist_state="session")


def _choice(field: FieldInfo, value: Any, key: str, fits: Sequence[str]) -> Any:
    options = [each for each in options_of(field) if not fits or each in fits]
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


def _text(field: FieldInfo, value: str, key: str) -> str:
    typed = st.text_input(str(field.title), value, help=field.description, key=key, persist_state="session")
    return str(typed).strip()


def split_names(typed: str) -> tuple[str, ...]:
    """The names between commas, each once.

    >>> split_names(" head, features.3.* ,, head")
    ('head', 'features.3.*')
    """
    return tuple(dict.fromkeys(name for part in typed.split(",") if (name := part.strip())))


def _variants(field: FieldInfo, value: tuple[str, ...], key: str, titles: Mapping[str, str]) -> tuple[str, ...]:
    chosen = (*value, *st.session_state.get(key, ()))
    most = next(each.max_length for each in field.metadata if isinstance(each, MaxLen))
    shown = distinct({digest: variant_title(digest, titles) for digest in (*titles, *chosen)})
    picked = st.multiselect(
        str(field.title), list(shown), list(value), max_selections=most, format_func=shown.__getitem__, key=key,
        help=field.description,
        placeholder="none chosen" if titles or chosen else "no finished variant of this model yet",
        persist_state="session",
    )  # fmt: skip
    return tuple(picked)


def _model(field: FieldInfo, value: str, key: str, titles: Mapping[str, str]) -> str:
    shown = distinct({"": "none"} | {each: titles.get(each, f"not here: {each}") for each in (*titles, value) if each})
    return st.selectbox(
        str(field.title), list(shown), list(shown).index(value), format_func=shown.__getitem__, key=key,
        help=field.description, persist_state="session",
    )  # fmt: skip


def variant_title(digest: str, titles: Mapping[str, str]) -> str:
    """How a finished variant is called; one that is not here goes by the start of its digest.

    >>> variant_title("0f3a5b6c7d8e9f00", {})
    'not here: 0f3a5b6c'
    """
    return titles.get(digest) or f"not here: {digest[:8]}"


def options_of(field: FieldInfo) -> list[Any]:
    """What a choice offers: a `Literal`'s values, or the keys of its labels for a plain string."""
    if get_origin(field.annotation) is Literal:
        return list(get_args(field.annotation))
    return list(_extra(field)["labels"])


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"{field.title} was not made by a function of core.settings")
    return extra
