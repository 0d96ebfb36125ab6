"""A recipe as a small YAML document, and back."""

from __future__ import annotations

import re

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.errors import BadInput
from experiments.models import is_here, offered
from experiments.recipe import Recipe
from runtimes import RUNTIMES

LONGEST_TEXT = 20_000
"""Characters of a recipe file: some thirty times what the longest recipe needs."""

DEEPEST_NESTING = 10
LONGEST_VALUE = 60
"""Characters of a wrong value that are repeated to whom it comes from."""


def to_yaml(recipe: Recipe) -> str:
    """The recipe as a small YAML document."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def from_yaml(text: str) -> Recipe:
    """The recipe in `text`. Raises `BadInput` naming each field that is wrong."""
    action = "Start from a recipe saved by the Optimise page"
    if len(text) > LONGEST_TEXT:
        raise BadInput(f"The recipe has {len(text):,} characters", expected=f"at most {LONGEST_TEXT:,}", action=action)
    try:
        _refuse_bombs(text)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"The recipe is not YAML{_line(error)}", action=action) from None
    if not isinstance(content, dict):
        found = "empty" if content is None else f"a {type(content).__name__}"
        raise BadInput(f"The recipe is {found}", expected="a mapping with at least `model`")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise BadInput(". ".join(map(_explained, error.errors())), action="Correct the recipe") from None
    if not is_here(recipe.model):
        raise BadInput(f"The recipe's model is {recipe.model}", expected=" or ".join(offered()))
    if recipe.runtime not in RUNTIMES:
        raise BadInput(f"The recipe's runtime is {recipe.runtime}", expected=" or ".join(RUNTIMES))
    return recipe


def _refuse_bombs(text: str) -> None:
    """Raises `BadInput` for what would grow or nest without end when it is read."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING or isinstance(event, yaml.AliasEvent):
            found = "refers to parts of itself (`*name`)" if depth <= DEEPEST_NESTING else "is nested too deeply"
            raise BadInput(f"The recipe {found}", expected="plain values", action="Write its values out")


def _line(error: yaml.YAMLError) -> str:
    """Where it ends to be YAML, as the end of a sentence; empty where nobody knows."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f": line {mark.line + 1} cannot be read" if mark else ""


def _explained(found: ErrorDetails) -> str:
    """`keras_pruning.sparsity is 7; expected at most 0.95`."""
    loc = found["loc"][1:] if found["loc"][0] == "techniques" and len(found["loc"]) > 1 else found["loc"]
    field, message = ".".join(map(str, loc)), found["msg"].partition(", unable to parse")[0]
    match found["type"]:
        case "missing":
            return f"The recipe has no `{field}`"
        case "extra_forbidden":
            return f"The recipe has `{field}`, which is no setting"
        case "model_type":
            return f"{field} is {_shown(found['input'])}; expected settings by their names"
        case "value_error":
            message = message.removeprefix("Value error, ")
            return message if message.startswith(field) else f"{field}: {message}"
    expected = re.sub(r"^\w+ should (?:be|have|match) ", "", message)
    for said, meant in (("less than or equal to", "at most"), ("greater than or equal to", "at least")):
        expected = expected.replace(said, meant)
    return f"{field} is {_shown(found['input'])}; expected {expected}"


def _shown(value: object) -> str:
    written = repr(value)
    return written if len(written) <= LONGEST_VALUE else f"{written[:LONGEST_VALUE]}…"
