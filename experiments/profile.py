"""A profile: where the time, the memory and the parameters of one variant go, all measured in one go.

What is profiled is the file that a finished run left or, of an untouched network, one that is exported on the spot, so
that a profile needs no run before it. Latency, the engine's own profile and what the device attains follow each other
in the same process: only so can layers be added up to a latency, and set against a roofline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.anatomy import Anatomy
from core.bundle import ModelBundle, Precision
from core.data import Inputs
from core.devices import default_threads, find_device
from core.errors import BadInput, Unavailable
from core.layers import LayerProfile
from core.progress import Event, Finished, Note, PhaseStarted, Planned, Steps
from experiments.anatomies import anatomy_of_run, study_anatomy, why_no_anatomy
from experiments.checking import check
from experiments.exporting import exported
from experiments.module_tree import with_module_names
from experiments.peaks import Peaks, peaks_for
from experiments.profile_files import write_files
from experiments.recipe import Recipe
from experiments.took_part import conditions_of
from profiling.latency import Latency, measure_latency
from profiling.machine import Conditions
from profiling.sweep import batches_of, engine_errors
from runtimes.runtime import Artifact

PHASES = ("Load", "Latency", "Layers", "What it attains", "Network")
LATENCY_SECONDS = 2.0
"""A profile needs the median only; runs look for longer."""
OTHERS: Mapping[str, tuple[Precision, ...]] = {
    "pytorch": ("bf16", "fp16"),
    "torch_compile": ("bf16", "fp16"),
    "onnxruntime": ("int8",),
    "openvino": ("int8", "bf16"),
    "tensorrt": ("int8", "fp16"),
}
"""What a network in FP32 could compute in instead, by runtime: probed beside it where the device has it, so that what a
change would be worth follows from measured rates."""
_Measured = dict[str, Any]
"""By field of `ProfileResult`."""


class ProfileResult(BaseModel):
    """What a profile found. Everything in it was measured in one process, one after the other."""

    model_config = ConfigDict(frozen=True)

    precision: Precision
    conditions: Conditions
    latency: Latency
    """Of whole calls, without a profiler."""
    layers: LayerProfile
    peaks: Peaks | None = None
    """What the engine attains here when it is well fed, probed in this very profile."""
    why_no_peaks: str = ""
    anatomy: Anatomy | None = None
    """The network in float32, before the engine rewrote it."""
    why_no_anatomy: str = ""
    files: tuple[str, ...] = ()
    """Names in the run's folder: `trace.json` for chrome://tracing, `graph.json` with its ONNX operators."""

    @property
    def residual_ms(self) -> float:
        """What a timed call takes beyond all layers: launching, Python, and what the profiler changed."""
        return self.latency.p50_ms - self.layers.layers_ms


def run_profile(recipe: Recipe, folder: Path, artifact: Artifact | None) -> Iterator[Event]:
    """Profile the artifact or, where there is none, the untouched network; the last event is `Finished`.

    Raises `Unavailable` where the engine cannot tell where its time goes, `BadInput` for a variant without a file.
    """
    from experiments import models

    if artifact is None and recipe.techniques:
        raise BadInput(
            "A profile of a variant that has not been made", expected="a finished run", action="Run its recipe first"
        )
    check(recipe)
    yield Planned(phases=PHASES)
    yield PhaseStarted(title="Load")
    bundle = models.load(recipe.model)
    served = artifact or (yield from _export(bundle, recipe, folder))
    x = batches_of(bundle.data.test.pixels, bundle.contract)(recipe.measurement.batch_size)
    measured = yield from _measure(recipe, served, x)
    yield PhaseStarted(title="Network")
    if artifact is None or bundle.form != "torch":
        measured |= yield from _anatomy(bundle)
    else:
        measured["anatomy"], measured["why_no_anatomy"] = anatomy_of_run(artifact.folder.parent)
    files = yield from write_files(folder, served, recipe, measured["layers"], x)
    measured["layers"] = with_module_names(measured["layers"], measured.get("anatomy"))
    result = ProfileResult(precision=served.precision, files=files, **measured)
    yield Finished(result=result.model_dump(mode="json"))


def _export(bundle: ModelBundle, recipe: Recipe, folder: Path) -> Steps[Artifact]:
    target = folder / "artifact"
    target.mkdir(exist_ok=True)
    return (yield from exported(bundle, recipe.configured_runtime, target, find_device(recipe.device)))


def _anatomy(bundle: ModelBundle) -> Steps[_Measured]:
    """What the network is made of, or one sentence on why that is not known: what was measured is worth more."""
    if bundle.form != "torch":
        return {"why_no_anatomy": why_no_anatomy(bundle.form)}
    try:
        anatomy = yield from study_anatomy(bundle)
    except engine_errors() as reason:
        why = f"What the network is made of could not be followed: {reason}"
        yield Note(text=why, warning=True)
        return {"why_no_anatomy": why}
    return {"anatomy": anatomy}


def _measure(recipe: Recipe, served: Artifact, x: Inputs) -> Steps[_Measured]:
    """Latency, layers and peaks, one after the other."""
    device, threads = find_device(recipe.device), recipe.measurement.threads or default_threads()
    runtime = recipe.configured_runtime
    yield PhaseStarted(title="Latency", timed=True)
    with runtime.open(served, device, threads=threads) as session:
        latency = yield from measure_latency(session, x, seconds=LATENCY_SECONDS)
    yield PhaseStarted(title="Layers", timed=True)
    layers = runtime.profile(served, device, threads=threads, x=x)
    here = conditions_of(recipe, device, threads=threads)
    peaks = yield from _peaks(recipe, served.precision, threads)
    return {"latency": latency, "layers": layers, "conditions": here, **peaks}


def _peaks(recipe: Recipe, precision: Precision, threads: int) -> Steps[_Measured]:
    """What the device attains, probed now, or one sentence on why that is not known."""
    yield PhaseStarted(title="What it attains", timed=True)
    others = OTHERS.get(recipe.runtime, ()) if precision == "fp32" else ()
    precisions: tuple[Precision, ...] = ("fp32", precision, *others)
    failures: tuple[type[Exception], ...] = (Unavailable, *engine_errors())
    try:
        peaks = yield from peaks_for(
            recipe.runtime, find_device(recipe.device), threads=threads, precisions=precisions, anew=True
        )
    except failures as reason:
        yield Note(text=f"What this device attains could not be probed: {reason}", warning=True)
        return {"why_no_peaks": str(reason)}
    return {"peaks": peaks}
