"""What a technique is.

A technique is one frozen pydantic model. Its fields are its settings and, through `slider` and `choice`, its controls
in the browser, its lines in a recipe and its arguments in Python. `check` tells without loading anything whether it
fits; `apply` does the work and returns a new bundle.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from core.bundle import ModelBundle, Situation
from core.devices import Device
from core.progress import Steps

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Context:
    """Where and how a technique works."""

    device: Device
    threads: int
    seed: int
    folder: Path
    """An existing, empty folder for intermediate files."""
    build_network: Callable[[str], nn.Module]
    """An untrained network of a named architecture, its weights drawn from torch's global generator."""


class Technique(BaseModel):
    """Settings of one transformation, and the transformation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    """One line: what it does and what it costs."""
    learn: ClassVar[str]
    """A short paragraph of markdown: how it works, when it pays, when it does not, with its source."""

    def label(self) -> str:
        """A few words for titles and legends, with the setting that matters most: `Pruned 50 %`."""
        return self.title

    @abstractmethod
    def check(self, situation: Situation) -> Situation:
        """The situation after this technique. Raises `CannotCompose` or `Unavailable` with the reason."""

    @abstractmethod
    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """A new bundle; the given one is left unchanged. Raises `NothingDone` where nothing was changed."""


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
) -> Any:
    """A numeric field drawn as a slider; values outside [low, high] are refused."""
    extra: dict[str, Any] = {"widget": "slider", "step": step, "unit": unit, "advanced": advanced}
    return Field(default, ge=low, le=high, title=title, description=help, json_schema_extra=extra)


def choice(default: Any, *, title: str, help: str, labels: dict[str, str] | None = None, advanced: bool = False) -> Any:
    """A `Literal` or bool field drawn as a choice; `labels` maps stored values to what is shown."""
    extra: dict[str, Any] = {"widget": "choice", "labels": labels or {}, "advanced": advanced}
    return Field(default, title=title, description=help, json_schema_extra=extra)
