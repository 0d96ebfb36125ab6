"""Runs that left a real artifact, and environments that hold nothing but what a package asks for."""

from __future__ import annotations

import os
import subprocess
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement

import sample_models
from core.devices import find_device
from core.folders import run_folder
from experiments.companions import write_companions
from experiments.package import Options, Package, build_package
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.store import Store
from profiling.accuracy import Accuracy
from profiling.latency import Latency
from profiling.machine import conditions
from profiling.memory import Memory
from profiling.size import Size
from profiling.sweep import BatchPoint, Sweep
from runtimes import RUNTIMES, Artifact

MODEL = "student_dw_fmnist"


def latency_of(batch_size: int, p50_ms: float) -> Latency:
    """Eight blocks of equal calls."""
    blocks = ((p50_ms,) * 10,) * 8
    return Latency(batch_size=batch_size, blocks_ms=blocks, warmup_ms=1, first_call_ms=1, contended_share=0.0)


def sweep_of(throughput_per_s: dict[int, float]) -> Sweep:
    """A sweep with these throughputs by batch size."""
    points = [
        BatchPoint(latency=latency_of(size, 1000 * size / rate), growth_bytes=0)
        for size, rate in throughput_per_s.items()
    ]
    return Sweep(points=tuple(points), stopped="Throughput no longer rises")


def result_of(artifact: Artifact, sweep: Sweep | None = None) -> RunResult:
    """A result with the conditions of this machine; its figures are of no matter here."""
    return RunResult(
        accuracy=Accuracy(predictions=(0,) * 10, confidences=(0.9,) * 10, wrong=(1,)),
        latency=latency_of(1, 1.0),
        memory=Memory(batch_size=1, process_before_rss_bytes=1000, process_peak_rss_bytes=3000),
        size=Size(size_bytes=1000, gzip_bytes=900, parameter_count=1, nonzero_count=1, macs=1),
        build_ms=5,
        conditions=conditions(find_device("cpu"), threads=1, seed=0),
        precision=artifact.precision,
        artifact_files=artifact.files,
        sweep=sweep,
    )


def packaged(store: Store, runtime: str, options: Options | None = None) -> tuple[Package, Artifact]:
    """The package of a run that exported the smallest sample model, and its artifact; three samples are mislabelled."""
    recipe = Recipe(model=MODEL, runtime=runtime)
    run_id = store.begin_here(recipe)
    (folder := run_folder(run_id) / "artifact").mkdir()
    bundle = sample_models.load(MODEL)
    artifact = RUNTIMES[runtime].export(bundle, folder)
    write_companions(bundle, folder)
    with np.load(folder / "samples.npz") as samples:
        pixels, labels = samples["pixels"], samples["labels"]
    labels[:3] = (labels[:3] + 1) % 10
    np.savez_compressed(folder / "samples.npz", pixels=pixels, labels=labels)
    store.finish(run_id, result_of(artifact))
    record, result = store.run(run_id), store.result(run_id)
    assert record
    assert result
    return build_package(record, result, options or Options()), artifact


def unpacked(package: Package, folder: Path) -> Path:
    """Where the files of the package lie after unpacking it."""
    with zipfile.ZipFile(package.path) as archive:
        archive.extractall(folder)
    return folder / package.folder


def linked_environment(folder: Path, requirements: Path) -> Path:
    """The Python of a new environment that holds what the requirements ask for, and nothing else.

    Distributions are found by their metadata, as pip would, and linked file by file from this environment. Raises
    `AssertionError` where the version here is not the one that is asked for.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = (folder / "lib").glob("python*/site-packages")
    wanted = [Requirement(line) for line in requirements.read_text().splitlines()]
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        found = distribution(requirement.name)
        assert requirement.specifier.contains(found.version, prereleases=True), (requirement, found.version)
        for extra in {"", *requirement.extras} - {extra for name, extra in seen if name == found.name}:
            seen.add((found.name, extra))
            _link(found, site)
            needed = [Requirement(each) for each in found.requires or ()]
            wanted += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    return folder / "bin" / "python"


def _link(found: Distribution, site: Path) -> None:
    """Link every file of a distribution that lies in site-packages, compiled modules too."""
    for file in found.files or ():
        if ".." not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            if not (site / file).exists():
                os.symlink(Path(str(file.locate())), site / file)


def run_alone(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the folder, without anything of this environment's variables but the path to programs."""
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
