"""What can be asked of a network beside making a variant of it; a study waits, runs and is kept like a run."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from core.scan import CHANGES, USUAL_CHANGES, Change
from experiments.recipe import Recipe


class _Study(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProfileStudy(_Study):
    """Where the time, the memory and the parameters of a recipe's variant go."""

    kind: Literal["profile"] = "profile"
    run: str = ""
    """Id of the finished run whose file is profiled; empty: the untouched network is exported anew."""


class ScanStudy(_Study):
    """What each layer of an untouched network loses when it alone is changed."""

    kind: Literal["scan"] = "scan"
    changes: tuple[Change, ...] = Field(USUAL_CHANGES, min_length=1)
    images: int = Field(512, ge=16, le=10_000)

    @property
    def label(self) -> str:
        """`INT8, INT4, 25 % pruned`."""
        return ", ".join(CHANGES[change] for change in self.changes)


Study: TypeAlias = Annotated[ProfileStudy | ScanStudy, Field(discriminator="kind")]


def subject_of(study: Study, recipe: Recipe) -> Recipe:
    """What of the recipe decides the study: a scan looks at the untouched network, whatever would serve it."""
    if study.kind == "profile":
        return recipe.model_copy(update={"name": ""})
    return Recipe(model=recipe.model, device=recipe.device, seed=recipe.seed)


def study_digest(study: Study, recipe: Recipe) -> str:
    """16 hex digits that two studies share exactly when they ask the same of the same network."""
    asked = study.model_dump(mode="json", exclude={"run"})
    content = {"study": asked, "recipe": subject_of(study, recipe).digest}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def study_title(study: Study, recipe: Recipe) -> str:
    """What it is called in lists."""
    if study.kind == "profile":
        return f"Profile: {recipe.title}"
    return f"Sensitivity: {study.label}"
