"""A model that was brought as an ONNX graph on a GPU: as it is, in halves, and in 8 bits, beside ONNX Runtime's CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.devices import Device, find_device
from core.onnx_reference import reference
from core.progress import result_of
from optimizers import Context, Technique
from optimizers.int8 import Int8
from optimizers.mixed_precision import MixedPrecision
from runtimes import RUNTIMES
from tests.optimizers.quantization.test_graph_pipeline import CONTRACT, DATA, GRAPH, TEST_X

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.mark.parametrize(
    ("runtime", "technique", "tolerance"),
    [
        ("onnxruntime", None, 0.01),  # products may use TF32
        ("onnxruntime", MixedPrecision(precision="fp16"), 0.02),
        ("tensorrt", None, 0.01),
        ("tensorrt", MixedPrecision(precision="fp16"), 0.02),
        ("tensorrt", Int8(symmetric=True, weight_range="full"), 0.15),
    ],
)
def test_it_answers_like_the_graph(
    runtime: str, technique: Technique | None, tolerance: float, gpu: Device, tmp_path: Path
) -> None:
    engine = RUNTIMES[runtime]
    if reason := engine.why_unavailable(gpu):
        pytest.skip(reason)
    bundle = ModelBundle("brought", "cnn", OnnxGraph(GRAPH), CONTRACT, DATA)
    situation = Situation("cnn", 0, 4, gpu, runtime, form="onnx", brought_as="onnx")
    if technique:
        situation = technique.check(situation)
        context = Context(gpu, 1, 0, tmp_path, lambda key: pytest.fail(key), runtime=runtime)
        bundle = result_of(technique.apply(bundle, context))
    engine.check(situation)
    (tmp_path / "artifact").mkdir()
    artifact = engine.export(bundle, tmp_path / "artifact")
    with engine.open(artifact, gpu, threads=1) as session:
        given = session.run(np.asarray(TEST_X, np.float32))
    expected = reference(GRAPH)(TEST_X)
    assert np.abs(given - expected).max() <= tolerance * np.abs(expected).max()
