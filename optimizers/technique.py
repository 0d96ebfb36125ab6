"""What a technique is.

A technique is one frozen pydantic model. Its fields are its settings and, through `core.settings`, its controls in the
browser, its lines in a recipe and its arguments in Python. `check` tells without loading anything whether it
fits; `apply` does the work and returns a new bundle.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from core.bundle import Form, ModelBundle, Situation, Task
from core.data import Floats, Inputs
from core.devices import Device
from core.progress import Steps

if TYPE_CHECKING:
    from torch import nn


class Served(Protocol):
    """A network in the engine that would serve it."""

    size_bytes: int

    def run(self, x: Inputs) -> Floats:
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
    others: Callable[[str], tuple[str, ModelBundle]] | None = None
    """Title and bundle of another model, by its key; raises `BadInput` where it is not here. None where only the bundle
    at hand is known."""
    target: Device | None = None
    """The device that will serve the network, where that is another one than `device`."""
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
    pays: ClassVar[str]
    """Markdown that ends a sentence "Pays when …", with a figure from docs/ where one was measured."""
    pays_not: ClassVar[str]
    """The same for "Does not pay when …"."""
    simulates: ClassVar[bool] = False
    """Whether the network computes in float as before, so that neither its speed nor its size tells anything."""

    takes: ClassVar[tuple[Form, ...]] = ("torch", "onnx")
    """What a model may be, before the first technique, that it could ever work on; pages offer it for no other."""

    def label(self) -> str:
        """A few words for titles and legends, with the setting that matters most: `Pruned 50 %`."""
        return self.title

    def other_models(self) -> tuple[str, ...]:
        """Keys of the models that it learns from, beside the one it works on."""
        return ()

    @classmethod
    def fitting(cls, task: Task, runtime: str) -> dict[str, tuple[str, ...]]:
        """Of choices that offer more than fits what is classified, or the runtime, what fits, the usual first.

        By the field's name.
        """
        return {}

    @abstractmethod
    def check(self, situation: Situation) -> Situation:
        """The situation after this technique. Raises `CannotCompose` or `Unavailable` with the reason."""

    @abstractmethod
    def apply(self, bundle: ModelBundle, context: Context) -> Steps[ModelBundle]:
        """A new bundle; the given one is left unchanged. Raises `NothingDone` where nothing was changed."""
