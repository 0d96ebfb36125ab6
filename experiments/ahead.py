"""What a run knows that built an engine for a GPU which is not here: whether it could be built, and nothing it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.bundle import ModelBundle, OnnxGraph, Precision
from core.compatibility import Compatibility
from core.devices import find_device
from core.errors import RunFailed
from core.progress import Event, Finished, PhaseStarted
from core.quantization import QuantizationReport
from experiments.companions import write_companions
from experiments.exporting import exported
from experiments.recipe import Recipe
from experiments.took_part import conditions_of
from profiling.machine import Conditions
from runtimes.tensorrt_compatible import compatibility
from runtimes.tensorrt_facts import EngineFacts, read_facts
from runtimes.tensorrt_graph import graph_of

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
    graph_bytes: int
    """Of the ONNX graph that the builder was given."""
    size_bytes: int | None = None
    """Of the engine and what it says of itself."""
    build_ms: float | None = None
    """Parsing the graph, building and writing."""
    facts: EngineFacts | None = None
    """How it was built; None where it was not."""
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
    graph = graph_of(bundle)
    found = AheadResult(
        precision=bundle.precision,
        target=recipe.engine.target(device).name,
        compatibility=compatibility(graph),
        conditions=conditions_of(recipe, device, threads=threads),
        graph_bytes=len(graph),
        quantization=bundle.quantization,
    )
    yield PhaseStarted(title=PHASES_AHEAD[1])
    write_companions(bundle, folder)
    began = time.perf_counter()
    try:
        as_graph = replace(bundle, network=OnnxGraph(graph))
        artifact = yield from exported(as_graph, recipe.configured_runtime, folder, device)
    except RunFailed as reason:  # what the parser said is worth having without an engine
        found = found.model_copy(update={"why_no_engine": str(reason)})
    else:
        build_ms = 1000 * (time.perf_counter() - began)
        built = {"size_bytes": artifact.size_bytes, "build_ms": build_ms, "artifact_files": artifact.files}
        found = found.model_copy(update=built | {"facts": read_facts(folder)})
    yield Finished(result=found.model_dump(mode="json"))


def describe_ahead(result: AheadResult) -> str:
    """The build as text: what the parser refuses, what it takes, and what was built. It ends without a newline."""
    lines = [f"{result.compatibility.parser} on {result.precision} for {result.target}:"]
    for each in result.compatibility.operators:
        refused = f"  {len(each.refused)} refused: {each.reason} ({', '.join(each.refused)})" if each.refused else ""
        lines.append(f"  {each.op:<28} {each.count:>5}{refused}")
    if result.why_no_engine or result.size_bytes is None or result.build_ms is None:
        return "\n".join([*lines, "", f"No engine was built. {result.why_no_engine}"])
    return "\n".join(
        [
            *lines,
            "",
            f"The engine has {result.size_bytes:,} bytes ({result.size_bytes / result.graph_bytes:.2f} times its ONNX "
            f"graph) and took {result.build_ms / 1000:.1f} s. It was built for {result.target} and has not been run "
            "here: there is no accuracy, latency or memory.",
        ]
    )
