"""A network of Keras through a whole run, without TensorFlow: quantized by LiteRT and served by two engines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import sample_models
from core.progress import Note, PhaseStarted, Planned
from experiments import triton
from experiments.anatomies import PHASE as ANATOMY
from experiments.recipe import MeasurementSettings, Recipe
from experiments.requirements import requirements_of
from experiments.result import RunResult
from experiments.run import run
from runtimes import RUNTIMES, Artifact

INT8 = Recipe.model_validate(
    {
        "model": "keras_cnn_fmnist",
        "runtime": "litert",
        "techniques": [{"litert_quantization": {"scheme": "static_int8", "calibration_images": 64}}],
        "measurement": MeasurementSettings(latency_seconds=1, sweep_seconds=0, threads=1),
    }
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[object], RunResult]:
    folder = tmp_path_factory.mktemp("run")
    events = list(run(INT8, folder))
    return folder, events, RunResult.model_validate(events[-1].result)


def test_every_phase_passes_and_what_is_not_known_is_said(finished: tuple[Path, list[object], RunResult]) -> None:
    _, events, result = finished
    assert isinstance(events[0], Planned)
    assert tuple(each.title for each in events if isinstance(each, PhaseStarted)) == events[0].phases
    notes = " ".join(each.text for each in events if isinstance(each, Note))
    assert ANATOMY not in events[0].phases
    assert "not kept" not in notes, "nothing has failed"
    assert result.layers
    products = result.layers.of("compute")
    assert sum(each.macs for each in products) == result.size.macs
    assert {each.precision for each in products} == {"int8"}


def test_the_size_and_the_arithmetic_are_those_of_the_file(finished: tuple[Path, list[object], RunResult]) -> None:
    folder, _, result = finished
    file = folder / "artifact" / "model.tflite"
    assert result.size.size_bytes == file.stat().st_size
    assert result.size.parameter_count == 160 + 4640 + 100_416 + 650
    assert result.size.macs == 28 * 28 * 9 * 16 + 14 * 14 * 9 * 16 * 32 + 1568 * 64 + 640
    assert result.tflite
    assert {(each.dtype, each.bits) for each in result.tflite.weights} == {("int8", 8)}
    assert (result.tflite.macs, result.precision) == (result.size.macs, "int8")


def test_the_predictions_are_those_of_the_file_and_close_to_the_source(
    finished: tuple[Path, list[object], RunResult],
) -> None:
    folder, _, result = finished
    bundle = sample_models.load("keras_cnn_fmnist")
    x = bundle.contract.prepare(bundle.data.test.pixels[:300]).transpose(0, 2, 3, 1)
    interpreter = Interpreter(str(folder / "artifact" / "model.tflite"), num_threads=1)
    given, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(given, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given, x)
    interpreter.invoke()
    agreement = np.mean(interpreter.get_tensor(answer).argmax(1) == result.accuracy.predictions.integers[:300])
    assert agreement > 0.99
    assert result.fidelity
    assert result.fidelity.judged_as == "int8"
    assert not result.fidelity.differs
    assert result.fidelity.agreement > 0.97
    assert result.fidelity.relative > 1e-3, "it was rounded"


def test_its_package_asks_for_litert_and_numpy_and_triton_gets_it_through_python(
    finished: tuple[Path, list[object], RunResult],
) -> None:
    folder, _, result = finished
    artifact = Artifact("litert", "int8", folder / "artifact", result.artifact_files, INT8.engine)
    pins = requirements_of(RUNTIMES["litert"].sample_code(artifact), result.conditions)
    assert [each.partition("==")[0] for each in pins] == ["numpy", "ai-edge-litert", "pillow"]
    assert all("==" in each for each in pins)
    contract = json.loads((folder / "artifact" / "contract.json").read_text())
    for recipe in (INT8, INT8.model_copy(update={"runtime": "openvino", "engine": RUNTIMES["openvino"].settings})):
        assert triton.repository(recipe, result, contract).backend == "python"
