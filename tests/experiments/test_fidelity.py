"""Every bundled sample, exported in FP32, answers like the network it was made from."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import sample_models
from core.bundle import ModelBundle
from core.data import Floats
from core.devices import find_device
from core.progress import Note
from experiments.fidelity import compare_with_source, rounding_of
from profiling.fidelity import Fidelity
from runtimes import RUNTIMES, Artifact
from runtimes.openvino_ import OpenVinoSettings
from sample_models import MODELS
from tests.optimizers.conftest import events_and_result
from tests.runtimes.conftest import CLASSES, make_bundle

CPU = find_device("cpu")
IMAGES = 256
ENGINES = {"torch": ("pytorch", "onnxruntime", "openvino"), "keras": ("litert", "openvino")}
"""By the form of a sample."""
ONCE = ("student_cnn_fmnist", "aotinductor")
"""Compiling takes long, so that one sample stands for all; `test_divergence` has two networks in torch.compile."""


@cache
def sample(model: str) -> ModelBundle:
    """A bundled sample with few images, loaded once for all engines."""
    bundle = sample_models.load(model)
    return replace(bundle, data=replace(bundle.data, test=bundle.data.test.take(IMAGES)))


@pytest.mark.parametrize(
    ("model", "runtime"), [*((key, runtime) for key, model in MODELS.items() for runtime in ENGINES[model.form]), ONCE]
)
def test_in_fp32_every_sample_agrees_on_all_images_in_every_engine(model: str, runtime: str, tmp_path: Path) -> None:
    if reason := RUNTIMES[runtime].why_unavailable(CPU):
        pytest.skip(reason)
    bundle = sample(model)
    notes, found = fidelity(bundle, RUNTIMES[runtime].export(bundle, tmp_path))
    assert found.agreement == 1
    assert found.largest_difference < 1e-3
    assert not found.differs
    assert (notes, found.divergence) == ([], None)


def fidelity(bundle: ModelBundle, artifact: Artifact) -> tuple[list[str], Fidelity]:
    """What is noted, and the comparison."""
    with RUNTIMES[artifact.runtime].open(artifact, CPU, threads=1) as session:
        events, found = events_and_result(compare_with_source(session, bundle, artifact, CPU, threads=1))
    return [event.text for event in events if isinstance(event, Note)], found


def test_a_run_names_the_layer_that_was_spoilt_after_the_export(tmp_path: Path) -> None:
    import onnx

    bundle = make_bundle()
    artifact = RUNTIMES["onnxruntime"].export(bundle, tmp_path)
    graph = onnx.load(artifact.main_file)
    weight = next(each for each in graph.graph.initializer if each.name == "head.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(weight), weight.name))
    onnx.save(graph, artifact.main_file)
    notes, found = fidelity(bundle, artifact)
    assert found.divergence
    assert found.divergence.layers == ("head",)
    assert notes == [found.verdict]


def test_in_a_tflite_file_of_a_torch_module_no_layer_is_looked_for(tmp_path: Path) -> None:
    class Wrong:
        def run(self, x: Floats) -> Floats:
            return np.tile(np.float32(range(CLASSES)), (len(x), 1))

    artifact = Artifact("litert", "fp32", tmp_path, ("model.tflite",))
    steps = compare_with_source(Wrong(), make_bundle(), artifact, CPU, threads=1)  # type: ignore[arg-type]
    events, found = events_and_result(steps)
    assert (found.differs, found.divergence) == (True, None)
    assert [event.text for event in events if isinstance(event, Note)] == [found.verdict]


def test_weights_in_fp16_are_judged_as_such(tmp_path: Path) -> None:
    artifact = Artifact("openvino", "fp32", tmp_path, ("model.xml",), OpenVinoSettings(weights="fp16"))
    assert rounding_of(artifact, CPU) == "fp16"
    assert rounding_of(replace(artifact, engine=OpenVinoSettings()), CPU) == "fp32"
    assert rounding_of(replace(artifact, precision="int8"), CPU) == "int8"
