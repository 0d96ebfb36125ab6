"""One execution of a recipe, as a generator of events that ends with the result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import sample_models
from core.bundle import ModelBundle
from core.devices import Device, default_threads, find_device
from core.macs import count_macs
from core.progress import Event, Finished, PhaseStarted, Planned, Steps
from experiments.recipe import Recipe, check, to_yaml
from experiments.result import RunResult
from optimizers.technique import Context
from profiling.accuracy import Accuracy, measure_accuracy
from profiling.latency import Latency, measure_latency
from profiling.machine import conditions
from profiling.memory import Memory, MemoryWatch, measure_memory
from profiling.size import measure_size
from runtimes import RUNTIMES
from runtimes.runtime import Artifact, Runtime

SAMPLE_COUNT = 16
"""Test images that travel with an artifact, so that its sample code has something to run on."""


@dataclass(frozen=True)
class _Served:
    """What serving the artifact showed."""

    accuracy: Accuracy
    latency: Latency
    memory: Memory
    build_ms: float


@dataclass(frozen=True)
class _Bench:
    """Where an artifact is measured."""

    runtime: Runtime
    device: Device
    threads: int


def run(recipe: Recipe, folder: Path) -> Iterator[Event]:
    """Make the variant in `folder` and measure it; the last event is `Finished`. Raises `StudioError`s."""
    check(recipe)
    yield Planned(
        phases=("Load", *(each.title for each in recipe.techniques), "Export", "Memory", "Accuracy", "Latency")
    )
    bench = _Bench(
        RUNTIMES[recipe.runtime], find_device(recipe.device), recipe.measurement.threads or default_threads()
    )
    yield PhaseStarted(title="Load")
    (folder / "recipe.yaml").write_text(to_yaml(recipe))
    bundle, macs = yield from _transform(sample_models.load(recipe.model), recipe, bench, folder)
    yield PhaseStarted(title="Export")
    artifact = bench.runtime.export(bundle, _new_folder(folder / "artifact"))
    _write_companions(bundle, artifact.folder)
    size = measure_size(bundle, artifact, macs=macs)
    served = yield from _measure(bundle, artifact, recipe, bench)
    result = RunResult(
        accuracy=served.accuracy,
        latency=served.latency,
        memory=served.memory,
        size=size,
        build_ms=served.build_ms,
        conditions=conditions(bench.device, threads=bench.threads, seed=recipe.seed),
        precision=artifact.precision,
        artifact_files=artifact.files,
    )
    yield Finished(result=result.model_dump(mode="json"))


def _transform(bundle: ModelBundle, recipe: Recipe, bench: _Bench, folder: Path) -> Steps[tuple[ModelBundle, int]]:
    """The bundle after every technique, and its multiply-accumulates per image, counted while it is still in float."""
    macs = count_macs(bundle.module, bundle.contract)
    for number, technique in enumerate(recipe.techniques, start=1):
        yield PhaseStarted(title=technique.title)
        scratch = _new_folder(folder / f"{number}-{technique.key}")
        context = Context(bench.device, bench.threads, recipe.seed, scratch, sample_models.build_student)
        bundle = yield from technique.apply(bundle, context)
        macs = count_macs(bundle.module, bundle.contract) if bundle.form == "torch" else macs
    return bundle, macs


def _measure(bundle: ModelBundle, artifact: Artifact, recipe: Recipe, bench: _Bench) -> Steps[_Served]:
    settings = recipe.measurement
    pixels = np.resize(bundle.data.test.pixels, (settings.batch_size, *bundle.contract.shape))
    x = bundle.contract.prepare(pixels)
    yield PhaseStarted(title="Memory")
    with MemoryWatch(bench.device) as watch:
        began = time.perf_counter()
        session = bench.runtime.open(artifact, bench.device, threads=bench.threads)
        build_ms = 1000 * (time.perf_counter() - began)
        with session:
            memory = measure_memory(session, x, watch)
            yield PhaseStarted(title="Accuracy")
            accuracy = yield from measure_accuracy(session, bundle.data.test, bundle.contract)
            yield PhaseStarted(title="Latency", timed=True)
            latency = yield from measure_latency(session, x, seconds=settings.latency_seconds)
    return _Served(accuracy, latency, memory, build_ms)


def _write_companions(bundle: ModelBundle, folder: Path) -> None:
    """What an artifact needs beside it to be used: its input contract and a few real images."""
    contract = {"shape": bundle.contract.shape, **asdict(bundle.contract)}
    for part_of_shape in ("channels", "height", "width"):
        del contract[part_of_shape]
    (folder / "contract.json").write_text(json.dumps(contract, indent=1))
    samples = bundle.data.test.take(SAMPLE_COUNT)
    np.savez_compressed(folder / "samples.npz", pixels=samples.pixels, labels=samples.targets)


def _new_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
