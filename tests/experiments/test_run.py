"""The smallest real runs: the tiny student, real data, real files."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import sample_models
from core.folders import run_folder
from core.progress import Finished, Metric, PhaseStarted, Planned, Progress
from experiments.anatomies import anatomy_of_run
from experiments.package import build_package
from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import from_yaml
from experiments.result import RunResult
from experiments.run import run
from experiments.store import Store
from experiments.worker import execute

INT8 = Recipe.model_validate(
    {
        "model": "student_dw_fmnist",
        "runtime": "onnxruntime",
        "techniques": [{"int8": {"calibration_images": 64}}],
        "measurement": MeasurementSettings(latency_seconds=1, sweep_seconds=1, threads=1),
    }
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[object]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, list(run(INT8, folder))


def test_events_tell_the_plan_the_phases_the_progress_and_the_result(finished: tuple[Path, list[object]]) -> None:
    _, events = finished
    assert isinstance(events[0], Planned)
    assert tuple(event.title for event in events if isinstance(event, PhaseStarted)) == events[0].phases
    assert [event.timed for event in events if isinstance(event, PhaseStarted)][-2:] == [True, False]
    assert any(isinstance(event, Progress) for event in events)
    assert any(isinstance(event, Metric) and event.name == "accuracy" for event in events)
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Finished) for event in events) == 1


def test_the_result_is_what_the_artifact_does(finished: tuple[Path, list[object]]) -> None:
    """Predictions and size are those of the file on disk, opened here without any of our code."""
    folder, events = finished
    result = RunResult.model_validate(events[-1].result)
    (name,) = result.artifact_files
    path = folder / "artifact" / name
    assert result.size.size_bytes == path.stat().st_size
    bundle = sample_models.load("student_dw_fmnist")
    contract = json.loads((folder / "artifact" / "contract.json").read_text())
    pixels = bundle.data.test.pixels[:500].astype(np.float32)
    x = (pixels - np.float32(contract["mean"][0])) / np.float32(contract["std"][0])
    (logits,) = onnxruntime.InferenceSession(path).run(None, {"input": x.astype(np.float32)})
    agreement = np.mean(logits.argmax(1) == result.accuracy.predictions.integers[:500])
    assert agreement > 0.995  # batch sizes may differ in the last bit of a tie
    assert result.accuracy.total == 10_000


def test_what_the_network_was_made_of_is_kept_as_it_was_in_float(finished: tuple[Path, list[object]]) -> None:
    anatomy, why_not = anatomy_of_run(finished[0])
    assert not why_not
    assert anatomy.parameters == sample_models.card("student_dw_fmnist").parameter_count
    assert anatomy.macs == RunResult.model_validate(finished[1][-1].result).size.macs
    assert anatomy.module("head").weights.counts


def test_quantization_made_it_smaller_and_left_it_useful(finished: tuple[Path, list[object]]) -> None:
    result = RunResult.model_validate(finished[1][-1].result)
    card = sample_models.card("student_dw_fmnist")
    assert result.precision == "int8"
    assert result.accuracy.value > card.accuracy - 0.05
    assert result.conditions.threads == 1


def test_a_run_through_the_store_makes_a_package_that_runs_alone(store: Store, tmp_path: Path) -> None:
    run_id = store.begin_here(INT8)
    assert isinstance(execute(store, store.run(run_id)), Finished)
    record = store.run(run_id)
    assert record.state == "finished"
    assert store.events(run_id, kinds=["telemetry"])
    result = store.result(run_id)
    package = build_package(record, result)
    with zipfile.ZipFile(package.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    (folder,) = (tmp_path / "unpacked").iterdir()
    assert from_yaml((folder / "recipe.yaml").read_text()) == INT8
    plain = json.loads((folder / "result.json").read_text())
    assert plain["accuracy"]["predictions"] == result.accuracy.predictions.integers.tolist()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    output = subprocess.run(
        [sys.executable, "-I", "run.py"], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert len(output.splitlines()) > 16
    assert build_package(record, result).sha256 == package.sha256


def test_a_run_that_fails_ends_with_a_sentence_and_keeps_the_details(store: Store) -> None:
    run_id = store.begin_here(INT8)
    (run_folder(run_id) / "artifact").write_text("in the way of the artifact's folder")
    execute(store, store.run(run_id))
    record = store.run(run_id)
    assert record.state == "failed"
    assert "FileExistsError" in record.error
    assert "Traceback" not in record.error
    assert "Traceback" in record.details
