"""Another point of the path between everything quantized and nothing, as a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from core.errors import BadInput
from core.quantization import FLOAT_BITS, Path, PathPoint
from experiments.recipe import Recipe
from optimizers.technique import Technique


@dataclass(frozen=True)
class Kept:
    """The layers that have more bits than the rest at a point of a path, in the order in which they got them."""

    in_float: tuple[str, ...]
    in_8_bits: tuple[str, ...]


def kept_at(path: Path, upgrades: int) -> Kept:
    """What the first `upgrades` steps of the path give more bits to."""
    bits = {step.layer: step.to_bits for step in path.order[:upgrades]}
    return Kept(
        tuple(layer for layer, width in bits.items() if width == FLOAT_BITS),
        tuple(layer for layer, width in bits.items() if width < FLOAT_BITS),
    )


def point_at(path: Path, upgrades: int) -> PathPoint:
    """The measured point of so many upgrades."""
    return next(point for point in path.points if point.upgrades == upgrades)


def is_all_float(path: Path, upgrades: int) -> bool:
    """Whether nothing is left quantized there."""
    return set(kept_at(path, upgrades).in_float) == {step.layer for step in path.order}


def recipe_at(recipe: Recipe, path: Path, upgrades: int) -> Recipe:
    """The recipe that keeps exactly what this point of its path keeps, and searches no more. It has no name.

    Raises `BadInput` where nothing would be left quantized, or more layers would have to be named than fit.
    """
    if is_all_float(path, upgrades):
        raise BadInput("At this point every layer is in float", action="Choose a point with fewer steps")
    kept = kept_at(path, upgrades)
    techniques = tuple(_settled(each, kept) if _searches(each) else each for each in recipe.techniques)
    return recipe.model_copy(update={"name": "", "techniques": techniques})


def _searches(technique: Technique) -> bool:
    return "max_loss" in type(technique).model_fields


def _settled(technique: Technique, kept: Kept) -> Technique:
    settings = technique.model_dump()
    settings |= {"max_loss": 0, "keep": _with(settings["keep"], kept.in_float)}
    if kept.in_8_bits:
        settings["keep_8bit"] = _with(settings["keep_8bit"], kept.in_8_bits)
    try:
        return type(technique).model_validate(settings)
    except ValidationError as error:
        reasons = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise BadInput(f"This point does not fit into a recipe: {reasons}", action="Choose another one") from None


def _with(patterns: tuple[str, ...], layers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*patterns, *layers)))
