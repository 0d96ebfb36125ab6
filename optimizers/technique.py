"""What a technique is.

A technique is one frozen pydantic model. Its fields are its settings and, through `slider` and `choice`, its controls
in the browser, its lines in a recipe and its arguments in Python. `check` tells without loading anything whether it
fits; `apply` does the work and returns a new bundle.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from core.bundle import ModelBundle, Situation
from core.data import Floats
from core.devices import Device
from core.progress import Steps

if TYPE_CHECKING:
    from torch import nn


class Served(Protocol):
    """A network in the engine that would serve it."""

    size_bytes: int

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""

    def p50_ms(self) -> float:
        """Median latency at the recipe's batch size, timed for a fraction of a second."""


@dataclass(frozen=True)
class Context:
    """Where and how a technique works."""

    device: Device
    threads: int
    seed: int
    folder: Path
    """An existing folder for intermediate files, empty but for what an earlier attempt at the same left behind."""
    build_network: Callable[[str], nn.Module]
    """An untrained network of a named architecture, its weights drawn from torch's global generator."""
    runtime: str = ""
    """The engine that will serve the network."""
    serve: Callable[[ModelBundle], AbstractContextManager[Served]] | None = None
    """Exports a bundle and opens it again in that engine, as it would ship; None where nothing can be served."""
    original: Callable[[], ModelBundle] | None = None
    """The model as it was before the first technique; None where only the bundle at hand is known."""
    finished: Callable[[str], AbstractContextManager[Served]] | None = None
    """Opens what the newest finished run of the recipe with that digest left; raises `BadInput` where there is none."""
    cache: Path | None = None
    """An existing folder that outlives the run, for what is costly and follows from its name; None to keep nothing."""


class Technique(BaseModel):
    """Settings of one transformation, and the transformation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    """One line: what it does and what it costs."""
    learn: ClassVar[str]
    """A short paragraph of markdown: how it works, when it pays, when it does not, with its source."""
    simulates: ClassVar[bool] = False
    """Whether the network computes in float as before, so that neither its speed nor its size tells anything."""

    def label(self) -> str:
        """A few words for titles and legends, with the setting that matters most: `Pruned 50 %`."""
        return self.title

    @abstractmethod
    def check(self, situation: Situation) -> Situation:
        """The situation after this technique. Raises `CannotCompose` or `Unavailable` with the reason."""

    @abstractmethod
    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """A new bundle; the given one is left unchanged. Raises `NothingDone` where nothing was changed."""


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


def _place(group: str, advanced: bool, only_if: Condition | None) -> dict[str, Any]:
    return {"group": "Advanced" if advanced else group, "only_if": only_if}
