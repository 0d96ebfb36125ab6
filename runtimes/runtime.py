"""What a runtime is: one deployable format and the engine that serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from core.bundle import ModelBundle, Precision, Situation
from core.data import Floats
from core.devices import Device
from core.layers import LayerProfile


@dataclass(frozen=True)
class Artifact:
    """What ships: files in a folder that a runtime can open again."""

    runtime: str
    precision: Precision
    folder: Path
    files: tuple[str, ...]
    """Names inside `folder`, the one to open first."""

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

    def run(self, x: Floats) -> Floats:
        """float32 logits[N, classes] for x[N, C, H, W]."""

    def bind(self, x: Floats) -> Callable[[], None]:
        """One inference on x, already where the engine wants it; returns only when the device has finished."""

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Runtime(Protocol):
    """One format and its engine. Stateless; heavy libraries are imported inside the methods."""

    key: str
    title: str
    summary: str
    """One line: what it is and when to choose it."""
    requirements: tuple[str, ...]
    """Distributions that the sample code needs."""

    def why_unavailable(self, device: Device) -> str | None:
        """One sentence on why it cannot run on that device, or None."""

    def check(self, situation: Situation) -> None:
        """Raises `CannotCompose` with the reason when the techniques' outcome cannot run here."""

    def export(self, bundle: ModelBundle, folder: Path) -> Artifact:
        """Write the bundle's network, on the CPU and in eval mode, into an existing folder."""

    def open(self, artifact: Artifact, device: Device, *, threads: int) -> Session:
        """An engine ready to serve; the time this takes is the build time."""

    def profile(self, artifact: Artifact, device: Device, *, threads: int, x: Floats) -> LayerProfile:
        """Where the time of one inference on x[N, C, H, W] goes, opened as for serving but with the engine's profiler.

        Takes a few seconds. Raises `Unavailable` with the reason where the engine cannot tell.
        """

    def sample_code(self, artifact: Artifact) -> str:
        """At most 40 lines of Python: open the artifact beside it, read `contract.json`, print predictions."""
