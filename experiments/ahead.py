"""What a run knows that built an engine for a GPU which is not here: whether it could be built, and nothing it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.bundle import ModelBundle, Precision
from core.compatibility import Compatibility
from core.devices import find_device
from core.errors import RunFailed
from core.progress import Event, Finished, Note, PhaseStarted
from core.quantization import QuantizationReport
from experiments.exporting import exported
from experiments.recipe import Recipe
from profiling.machine import Conditions, conditions
from runtimes.tensorrt_compatible import compatibility_of

PHASES_AHEAD = ("Compatible?", "Build")


class AheadSummary(BaseModel):
    """A finished build in one table row."""

    model_config = ConfigDict(frozen=True)

    precision: Precision
    target: str
    """The kind of GPU that it was built for."""
    is_compatible: bool
    size_bytes: int | None
    """Of the engine; None where none was built."""
    build_ms: float | None
    artifact_files: tuple[str, ...]


class AheadResult(BaseModel):
    """What the parser says of every operator, and what the builder made. Nothing of it has been run."""

    model_config = ConfigDict(frozen=True)

    precision: Precision
    target: str
    compatibility: Compatibility
    conditions: Conditions
    """Of the build, on this machine."""
    size_bytes: int | None = None
    build_ms: float | None = None
    """Exporting the network and building its engine."""
    why_no_engine: str = ""
    """One sentence where none was built."""
    artifact_files: tuple[str, ...] = ()
    quantization: QuantizationReport | None = None

    def summary(self) -> AheadSummary:
        """The few facts that lists need."""
        return AheadSummary(
            precision=self.precision,
            target=self.target,
            is_compatible=self.compatibility.is_whole,
            size_bytes=self.size_bytes,
            build_ms=self.build_ms,
            artifact_files=self.artifact_files,
        )


def build_ahead(bundle: ModelBundle, folder: Path, recipe: Recipe, threads: int) -> Iterator[Event]:
    """Ask the parser, build in `folder`; the last event is `Finished` with an `AheadResult`."""
    device = find_device(recipe.device)
    yield PhaseStarted(title=PHASES_AHEAD[0])
    found = AheadResult(
        precision=bundle.precision,
        target=recipe.engine.target(device).name,
        compatibility=compatibility_of(bundle),
        conditions=conditions(device, threads=threads, seed=recipe.seed),
        quantization=bundle.quantization,
    )
    yield PhaseStarted(title=PHASES_AHEAD[1])
    began = time.perf_counter()
    try:
        artifact = yield from exported(bundle, recipe.configured_runtime, folder, device)
    except RunFailed as reason:  # what the parser said is worth having without an engine
        yield Note(text=str(reason), warning=True)
        found = found.model_copy(update={"why_no_engine": str(reason)})
    else:
        build_ms = 1000 * (time.perf_counter() - began)
        built = {"size_bytes": artifact.size_bytes, "build_ms": build_ms, "artifact_files": artifact.files}
        found = found.model_copy(update=built)
    yield Finished(result=found.model_dump(mode="json"))
