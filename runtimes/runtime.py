"""What a runtime is: one deployable format and the engine that serves it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, model_validator

from core.bundle import ModelBundle, Precision, Situation
from core.data import Floats, Inputs
from core.devices import Device
from core.layers import LayerProfile
from core.progress import Event


class EngineSettings(BaseModel):
    """How an engine is built and opened; each engine has its own, made of the fields of `core.settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _forget_what_does_nothing(cls, given: Any) -> Any:
        """Settings that do nothing under the others are as usual, so that they make no other variant."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if cls._applies(name, given)}

    @classmethod
    def _applies(cls, name: str, given: dict[str, Any]) -> bool:
        field = cls.model_fields.get(name)
        extra: Any = field.json_schema_extra if field else None
        other, wanted = (extra or {}).get("only_if") or ("", ())
        return not other or given.get(other, cls.model_fields[other].default) in wanted

    def label(self) -> str:
        """A few words on what is not as usual, for titles and legends; empty where all is."""
        return ""

    @classmethod
    def usual(cls, device: Device) -> Self:
        """The settings to begin with on that device."""
        return cls()

    @property
    def rounds_weights(self) -> bool:
        """Whether weights of a network in float are rounded to FP16 in the file."""
        return False

    @property
    def builds_ahead(self) -> bool:
        """Whether it only builds, for a device that is not here, so that nothing of it can be run or measured."""
        return False

    def target(self, device: Device) -> Device:
        """The device that it builds for: the one it builds on, unless it builds ahead."""
        return device


USUAL = EngineSettings()
"""Stands for the settings that an engine has unless told otherwise."""


@dataclass(frozen=True)
class Aids:
    """What an export may use; each may be missing."""

    device: Device | None = None
    """Where it is built, for engines that build for the device at hand; None for the first that fits."""
    cache: Path | None = None
    """An existing folder that outlives the run, for what makes the next build faster and nothing else."""
    report: Callable[[Event], None] = lambda _event: None
    """Takes events while it works. It may be called from another thread."""


NO_AIDS = Aids()


@dataclass(frozen=True)
class Artifact:
    """What ships: files in a folder that a runtime can open again."""

    runtime: str
    precision: Precision
    folder: Path
    files: tuple[str, ...]
    """Names inside `folder`, the one to open first."""
    engine: EngineSettings = USUAL
    """How it is to be opened."""

    @property
    def main_file(self) -> Path:
        """The file the runtime opens."""
        return self.folder / self.files[0]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum((self.folder / name).stat().st_size for name in self.files)


class Session(Protocol):
    """An opened artifact. A context manager: leaving it frees the engine."""

    def run(self, x: Inputs) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""

    def bind(self, x: Inputs) -> Callable[[], None]:
        """One inference on x, already where the engine wants it; returns only when the device has finished."""

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Runtime(Protocol):
    """One format and its engine, as a frozen dataclass whose one field are its settings.

    Heavy libraries are imported inside the methods.
    """

    @property
    def key(self) -> str:
        """Its place in the registry."""

    @property
    def title(self) -> str:
        """Its name on screen."""

    @property
    def summary(self) -> str:
        """One line: what it is and when to choose it."""

    @property
    def settings(self) -> Any:
        """How it builds and opens: a subclass of `EngineSettings`."""

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` with the reason when the techniques' outcome cannot run here."""

    def export(self, bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> Artifact:
        """Write the bundle's network, on the CPU and in eval mode, into an existing folder."""

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """An engine ready to serve; the time this takes is the build time."""

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs) -> LayerProfile:
        """Where the time of one inference on x[N, C, H, W] goes, opened as for serving but with the engine's profiler.

        Takes a few seconds. Raises `Unavailable` with the reason where the engine cannot tell.
        """

    def tensors(self, artifact: Artifact) -> tuple[str, ...]:
        """Names of the intermediate results that it can show, in order, as the network's exporter called them."""

    def probe(self, artifact: Artifact, device: Device, *, threads: int, x: Inputs, name: str) -> Floats:
        """One of them for x[N, C, H, W], computed as when serving."""

    def sample_code(self, artifact: Artifact) -> str:
        """At most 40 lines of Python: open the artifact beside it, read `contract.json`, print predictions."""


def with_settings(runtime: Runtime, settings: EngineSettings) -> Runtime:
    """The same engine with these settings; with `USUAL` ones, as it is."""
    if settings == USUAL:
        return runtime
    configured: Any = dataclasses.replace(runtime, settings=settings)  # type: ignore[type-var]
    return configured  # type: ignore[no-any-return]
