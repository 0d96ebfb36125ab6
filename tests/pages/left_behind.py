"""Runs as a worker would have left them, written through the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from core.folders import run_folder
from core.judging import LABELLED, Judging
from core.progress import Event, Finished, Metric, Note, PhaseStarted, Planned, Progress, Telemetry
from experiments.recipe import Recipe
from experiments.result import RunResult
from experiments.store import Store
from profiling.accuracy import Accuracy
from profiling.latency import Latency
from profiling.machine import Conditions
from profiling.memory import Memory
from profiling.size import Size
from sample_models import test_split

MIB = 2**20
IMAGES = 2000


def finished(
    store: Store,
    recipe: Recipe,
    *,
    wrong: int = 140,
    p50_ms: float = 1.0,
    size_bytes: int = 3 * MIB,
    predictions: NDArray[np.int64] | None = None,
    judging: Judging = LABELLED,
) -> str:
    """Leave a run that finished, its events and its files included; its id."""
    run_id = store.begin_here(recipe)
    store.append(run_id, [*working_events(), Finished(result={})])
    result = measured(recipe, wrong=wrong, p50_ms=p50_ms, size_bytes=size_bytes, predictions=predictions)
    accuracy = result.accuracy.model_copy(update={"judging": judging})
    store.finish(run_id, result.model_copy(update={"accuracy": accuracy}))
    write_artifact(run_id, size_bytes)
    return run_id


def running(store: Store, recipe: Recipe) -> str:
    """Leave a run in the midst of its work; its id."""
    run_id = store.begin_here(recipe)
    store.append(run_id, working_events())
    return run_id


def measured(
    recipe: Recipe, *, wrong: int, p50_ms: float, size_bytes: int, predictions: NDArray[np.int64] | None = None
) -> RunResult:
    """A result with a known number of wrong images or known predictions, a known median and a known size."""
    noise = np.random.default_rng(0)
    blocks = [tuple((p50_ms * noise.normal(1, 0.01, 15)).round(4).tolist()) for _ in range(24)]
    return RunResult(
        accuracy=accuracy_of(recipe, wrong, predictions),
        latency=Latency(
            batch_size=recipe.measurement.batch_size, blocks_ms=tuple(blocks), warmup_ms=300, first_call_ms=4 * p50_ms,
            contended_share=0.01,
        ),
        memory=Memory(
            batch_size=1, process_before_rss_bytes=200 * MIB, process_peak_rss_bytes=200 * MIB + 6 * size_bytes
        ),
        size=Size(
            size_bytes=size_bytes, gzip_bytes=size_bytes * 9 // 10, parameter_count=685_000, nonzero_count=685_000,
            macs=80_000_000,
        ),
        build_ms=12.5,
        conditions=Conditions(
            device="cpu", device_name="A CPU", cpu_name="A CPU", cores=2, threads=1, seed=0, os="Linux",
            python="3.11.2", libraries={"torch": "2.14.1", "onnxruntime": "1.32.0"}, gpu_driver=None, tf32=None,
            commit=None, date=datetime(2026, 11, 1, 12, tzinfo=UTC),
        ),
        precision="int8" if recipe.techniques else "fp32",
        artifact_files=("model.onnx",),
    )  # fmt: skip


def accuracy_of(recipe: Recipe, wrong: int, predictions: NDArray[np.int64] | None) -> Accuracy:
    """The first `wrong` images wrong; or what the predictions of the model's own test images make of it."""
    if predictions is None:
        return Accuracy(predictions=(0,) * IMAGES, confidences=(0.9,) * IMAGES, wrong=tuple(range(wrong)))
    mistakes = np.flatnonzero(~test_split(recipe.model).is_correct(predictions))
    sure = (0.9,) * len(predictions)
    return Accuracy(predictions=predictions.tolist(), confidences=sure, wrong=mistakes.tolist())


def working_events() -> Sequence[Event]:
    """What a run says on its way, without its last word."""
    at = datetime.now(UTC).timestamp() - 10
    return [
        Planned(at=at, phases=("Load", "Train", "Accuracy", "Latency")),
        PhaseStarted(at=at, title="Load"),
        Telemetry(at=at + 0.2, process_rss_bytes=200 * MIB, cpu_percent=90),
        PhaseStarted(at=at + 1, title="Train"),
        *(
            Metric(at=at + 1 + step / 20, name="loss", value=1 / (1 + step), step=step, series="train")
            for step in range(40)
        ),
        Note(at=at + 4, text="21 of 22 layers quantized"),
        PhaseStarted(at=at + 5, title="Accuracy"),
        Progress(at=at + 6, done=256, total=2000, unit="images", doing="classifying the test images"),
        Metric(at=at + 6, name="accuracy", value=0.9, step=256, series="test"),
        Progress(at=at + 7, done=1256, total=2000, unit="images", doing="classifying the test images"),
        Metric(at=at + 7, name="accuracy", value=0.92, step=1256, series="test"),
        Telemetry(at=at + 7, process_rss_bytes=240 * MIB, cpu_percent=95),
    ]


def write_artifact(run_id: str, size_bytes: int) -> None:
    """Files where a run leaves what ships."""
    folder = run_folder(run_id) / "artifact"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(bytes(size_bytes // 100))
    (folder / "contract.json").write_text("{}")
    (folder / "samples.npz").write_bytes(b"samples")
