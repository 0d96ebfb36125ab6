"""One execution of a recipe, as a generator of events that ends with the result."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import sample_models
from core.bundle import ModelBundle, Precision
from core.data import Inputs
from core.devices import Device, default_threads, find_device
from core.errors import Unavailable
from core.folders import data_folder
from core.progress import Event, Finished, Note, PhaseStarted, Planned, Steps, result_of
from core.tflite_file import facts_of
from experiments import models
from experiments.ahead import PHASES_AHEAD, build_ahead
from experiments.anatomies import PHASE as ANATOMY
from experiments.anatomies import write_anatomy
from experiments.checking import check
from experiments.companions import write_companions
from experiments.exporting import exported
from experiments.fidelity import PHASE as FIDELITY
from experiments.fidelity import compare_with_source
from experiments.peaks import peaks_for
from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import to_yaml
from experiments.result import RunResult
from experiments.server import Opened, ServedArtifact
from experiments.simulation import SimulatedResult, stored_as
from experiments.took_part import conditions_of
from experiments.training_gain import gain_of
from optimizers.technique import Context
from profiling.accuracy import measure_accuracy
from profiling.cuda_graph import Replayed
from profiling.energy import measure_energy
from profiling.latency import measure_latency
from profiling.parallel import Concurrent, measure_parallel
from profiling.size import macs_of, measure_size
from profiling.stages import measure_stages
from profiling.subject import Subject
from profiling.surroundings import SurroundingsWatch
from profiling.sweep import batches_of, engine_errors, measure_sweep
from runtimes import Aids, runtime_of
from runtimes.runtime import Artifact, Runtime, Session
from runtimes.tflite_file import TFLITE_FORMS

ArtifactOf = Callable[[str], Artifact]
"""The artifact of the newest finished run of the recipe with that digest; raises `BadInput` or `Unavailable`."""

_RETRAINING = frozenset({"qat", "keras_qat"})
"""Techniques that train what they quantize."""
SEVERAL = "Several at once"
"""The phase in which requests are kept in flight together."""
_GLANCE_SECONDS = 0.5
"""For timing one of many candidates inside a technique; what ships is timed for as long as the recipe says."""


@dataclass(frozen=True)
class _Bench:
    """Where an artifact is measured."""

    runtime: Runtime
    device: Device
    threads: int


@dataclass(frozen=True)
class _Made:
    """What became of the model."""

    bundle: ModelBundle
    source: ModelBundle
    """The same before it was quantized: what the artifact is compared with."""
    macs: int
    """Multiply-accumulates per image, counted while it was still in float."""


def run(recipe: Recipe, folder: Path, *, artifact_of: ArtifactOf | None = None) -> Iterator[Event]:
    """Make the variant in `folder` and measure it; the last event is `Finished`. Raises `StudioError`s.

    In a folder where the same recipe ended before its result, trainings go on from what they left there; everything
    else is done anew. `artifact_of` finds other variants for techniques that learn from them.
    """
    check(recipe)
    settings, device = recipe.measurement, find_device(recipe.device)
    yield Planned(phases=_phases(recipe, device))
    bench = _Bench(recipe.configured_runtime, device, settings.threads or default_threads())
    yield PhaseStarted(title="Load")
    (folder / "recipe.yaml").write_text(to_yaml(recipe))
    made = yield from _transform(models.load(recipe.model), recipe, bench, folder, artifact_of)
    bundle = made.bundle
    shutil.rmtree(folder / "artifact", ignore_errors=True)
    if recipe.engine.builds_ahead:
        yield from build_ahead(bundle, _new_folder(folder / "artifact"), recipe, bench.threads)
        return
    yield PhaseStarted(title="Export")
    artifact = yield from exported(bundle, bench.runtime, _new_folder(folder / "artifact"), bench.device)
    if recipe.is_simulated:
        yield from _finish_simulated(bundle, artifact, recipe, bench)
        return
    write_companions(bundle, artifact.folder)
    size = measure_size(bundle, artifact, macs=made.macs)
    measured = yield from _measure(made, artifact, recipe, bench)
    if made.source.form not in TFLITE_FORMS:
        yield PhaseStarted(title=ANATOMY)
        yield from write_anatomy(made.source, folder)
    result = RunResult(
        **measured,
        size=size,
        precision=artifact.precision,
        artifact_files=artifact.files,
        quantization=bundle.quantization,
        training=bundle.training,
        pruning=bundle.pruning,
        low_rank=bundle.low_rank,
        sparsity=bundle.sparsity,
        distillation=bundle.distillation,
        tflite=facts_of(artifact.main_file.read_bytes()) if artifact.main_file.suffix == ".tflite" else None,
    )
    yield Finished(result=result.model_dump(mode="json"))


def _phases(recipe: Recipe, device: Device) -> tuple[str, ...]:
    """What is to come, as titles."""
    techniques = tuple(technique.title for technique in recipe.techniques)
    judged = models.judging_of(recipe.model).title
    if recipe.engine.builds_ahead:
        return ("Load", *techniques, *PHASES_AHEAD)
    if recipe.is_simulated:
        return ("Load", *techniques, "Export", judged)
    sweep = ("Batch sizes",) if recipe.measurement.sweep_seconds else ()
    sweep = (*sweep, SEVERAL) if getattr(recipe.engine, "hint", "") == "throughput" else sweep
    on_gpu = ("Transfers", "Energy") if device.kind == "cuda" else ()
    served = ("Memory", judged, FIDELITY, "Latency", *sweep, *on_gpu, "Layers")
    network = () if models.find(recipe.model).form in TFLITE_FORMS else (ANATOMY,)
    return ("Load", *techniques, "Export", *served, *network)


def _transform(
    bundle: ModelBundle, recipe: Recipe, bench: _Bench, folder: Path, artifact_of: ArtifactOf | None
) -> Steps[_Made]:
    """The bundle after every technique."""
    made, batch_size = _Made(bundle, bundle, macs_of(bundle)), recipe.measurement.batch_size
    context = Context(
        bench.device,
        bench.threads,
        recipe.seed,
        folder,
        sample_models.build_student,
        runtime=recipe.runtime,
        serve=None if recipe.engine.builds_ahead else partial(_served, bench=bench, batch_size=batch_size),
        original=partial(models.load, recipe.model),
        others=lambda key: (models.title_of(key), models.load(key)),
        finished=artifact_of
        and partial(_opened, artifact_of=artifact_of, bench=bench, x=_input_of(bundle, batch_size)),
        target=recipe.engine.target(bench.device),
        cache=_new_folder(data_folder() / "cache"),
    )
    for number, technique in enumerate(recipe.techniques, start=1):
        yield PhaseStarted(title=technique.title)
        scratch = _new_folder(folder / f"{number}-{technique.key}")
        before, bundle = bundle, (yield from technique.apply(bundle, replace(context, folder=scratch)))
        if bundle.training and bundle.training is not before.training:
            yield Note(text=gain_of(bundle.training).sentence(bundle.judging))
        made = replace(made, bundle=bundle)
        if not bundle.quantization and bundle.form in ("torch", "keras"):  # of other forms the one before is kept
            made = _Made(bundle, bundle, macs_of(bundle))
    return made


class _Served:
    """An opened artifact, for techniques that choose between several."""

    def __init__(self, session: Session, size_bytes: int, x: Inputs) -> None:
        self.size_bytes, self.run, self._session, self._x = size_bytes, session.run, session, x

    def p50_ms(self) -> float:
        """Median latency at the recipe's batch size."""
        return result_of(measure_latency(self._session, self._x, seconds=_GLANCE_SECONDS)).p50_ms


@contextmanager
def _served(bundle: ModelBundle, *, bench: _Bench, batch_size: int) -> Iterator[_Served]:
    with tempfile.TemporaryDirectory() as folder:
        artifact = bench.runtime.export(bundle, Path(folder), Aids(bench.device))
        with bench.runtime.open(artifact, bench.device, threads=bench.threads) as session:
            yield _Served(session, artifact.size_bytes, _input_of(bundle, batch_size))


@contextmanager
def _opened(digest: str, *, artifact_of: ArtifactOf, bench: _Bench, x: Inputs) -> Iterator[_Served]:
    """Another variant in the runtime it was made for, on this run's device. Raises `Unavailable` where that cannot."""
    artifact = artifact_of(digest)
    runtime = runtime_of(artifact)
    if why := runtime.why_unavailable(bench.device):
        raise Unavailable(f"A variant that this one learns from needs {runtime.title}: {why}")
    with runtime.open(artifact, bench.device, threads=bench.threads) as session:
        yield _Served(session, artifact.size_bytes, x)


def _input_of(bundle: ModelBundle, batch_size: int) -> Inputs:
    """x[N, C, H, W] of test images."""
    return batches_of(bundle.data.test.pixels, bundle.contract)(batch_size)


def _measure(made: _Made, artifact: Artifact, recipe: Recipe, bench: _Bench) -> Steps[dict[str, Any]]:
    """What serving the artifact shows, by field of `RunResult`."""
    bundle = made.bundle
    batch_of = batches_of(bundle.data.test.pixels, bundle.contract)
    x = batch_of(recipe.measurement.batch_size)
    yield PhaseStarted(title="Memory")
    began = time.perf_counter()
    session = bench.runtime.open(artifact, bench.device, threads=bench.threads)
    build_ms = 1000 * (time.perf_counter() - began)
    with session:
        opened = _opened_in_fresh_process(artifact, bench, len(x))
        yield PhaseStarted(title=bundle.judging.title)
        accuracy = yield from measure_accuracy(session, bundle.data.test, bundle.contract, metric=bundle.metric)
        retrained = not _RETRAINING.isdisjoint(bundle.applied)
        fidelity = yield from compare_with_source(
            session, made.source, artifact, bench.device, threads=bench.threads, retrained=retrained
        )
        timed = yield from _time(session, batch_of, recipe.measurement, bench)
        here = conditions_of(recipe, bench.device, threads=bench.threads)
        if recipe.engine.target(bench.device) != bench.device:
            here = here.model_copy(update={"device_name": getattr(session, "device_name", here.device_name)})
    layers = yield from _profile(artifact, x, bench)
    memory = opened.memory.model_copy(update={"in_fresh_process": True})
    fresh = {"memory": memory, "cold_start_ms": opened.cold_start_ms, "conditions": here}
    return {"build_ms": build_ms, "accuracy": accuracy, "fidelity": fidelity, **fresh, **timed, **layers}


def _finish_simulated(bundle: ModelBundle, artifact: Artifact, recipe: Recipe, bench: _Bench) -> Iterator[Event]:
    """What is right of a simulated number format; its speed, memory and file are those of float32 and tell nothing."""
    yield PhaseStarted(title=bundle.judging.title)
    with bench.runtime.open(artifact, bench.device, threads=bench.threads) as session:
        accuracy = yield from measure_accuracy(session, bundle.data.test, bundle.contract, metric=bundle.metric)
    assert bundle.quantization, "a simulation reports on its layers"
    result = SimulatedResult(
        accuracy=accuracy,
        conditions=conditions_of(recipe, bench.device, threads=bench.threads),
        stored_as=stored_as(bundle, recipe),
        quantization=bundle.quantization,
    )
    yield Finished(result=result.model_dump(mode="json"))


def _profile(artifact: Artifact, x: Inputs, bench: _Bench) -> Steps[dict[str, Any]]:
    """Where the time goes, and what the device could do, by field of `RunResult`."""
    yield PhaseStarted(title="Layers", timed=True)
    runtime, device = bench.runtime, bench.device
    failures: tuple[type[Exception], ...] = (Unavailable, *engine_errors())
    try:
        layers = runtime.profile(artifact, device, threads=bench.threads, x=x)
    except failures as reason:  # what was measured so far is worth more than the profile
        yield Note(text=f"No profile of the layers: {reason}", warning=not isinstance(reason, Unavailable))
        return {"why_no_layers": str(reason)}
    if runtime.settings.target(device) != device:
        return {"layers": layers}  # what is probed is the CPU
    precisions: tuple[Precision, ...] = ("fp32", artifact.precision)
    try:
        peaks = yield from peaks_for(runtime.key, device, threads=bench.threads, precisions=precisions)
    except failures as reason:
        yield Note(text=f"What this device attains could not be probed: {reason}", warning=True)
        return {"layers": layers}
    return {"layers": layers, "peaks": peaks}


def _opened_in_fresh_process(artifact: Artifact, bench: _Bench, batch_size: int) -> Opened:
    """Training and export leave memory behind in this one, and growth hides in it; libraries are imported already."""
    with ServedArtifact(artifact, bench.device, threads=bench.threads, batch_size=batch_size) as served:
        return served.opened()


def _time(
    session: Session, batch_of: Callable[[int], Inputs], settings: MeasurementSettings, bench: _Bench
) -> Steps[dict[str, Any]]:
    """Latency, then what else takes the clock, by field of `RunResult`."""
    x, device = batch_of(settings.batch_size), bench.device
    subject: Subject = Replayed(session) if settings.cuda_graph else session
    yield PhaseStarted(title="Latency", timed=True)
    with SurroundingsWatch(device) as around:
        latency = yield from measure_latency(subject, x, seconds=settings.latency_seconds)
        timed: dict[str, Any] = {"latency": latency, "surroundings": around.read()}
    if settings.sweep_seconds:
        yield PhaseStarted(title="Batch sizes", timed=True)
        timed["sweep"] = yield from measure_sweep(session, batch_of, device, seconds=settings.sweep_seconds)
    if isinstance(session, Concurrent):
        yield PhaseStarted(title=SEVERAL, timed=True)
        timed["parallel"] = yield from measure_parallel(session, x)
    if device.kind == "cuda":
        yield PhaseStarted(title="Transfers", timed=True)
        timed["stages"] = measure_stages(session, x)
        yield PhaseStarted(title="Energy", timed=True)
    timed["energy"] = yield from measure_energy(subject, x, device)
    return timed


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
