"""A recipe as a small YAML document, and back."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from core.errors import BadInput
from experiments.models import is_here, offered
from experiments.recipe import Recipe
from runtimes import RUNTIMES

LONGEST_TEXT = 20_000
"""Characters of a recipe file: some thirty times what the longest recipe needs."""

DEEPEST_NESTING = 10


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
        raise BadInput(f"The recipe is not YAML: {error}", action=action) from None
    if not isinstance(content, dict):
        raise BadInput(f"The recipe is a {type(content).__name__}", expected="a mapping with at least `model`")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise BadInput("The recipe has " + "; ".join(_explain(error)), action="Correct these fields") from None
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


def _explain(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, item['loc'])) or 'recipe'}: {item['msg']}" for item in error.errors()]
