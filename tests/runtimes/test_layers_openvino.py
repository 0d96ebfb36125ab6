"""Layers of a `.tflite` file in OpenVINO go by their own names, also where OpenVINO turned their weights around."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import sample_models
from core.devices import Device
from core.progress import result_of
from core.tflite_file import TfliteFile
from optimizers import Context
from optimizers.litert_quantization import LiteRtQuantization
from runtimes import RUNTIMES
from runtimes.layers_openvino import _ModelFile, _name_weights
from runtimes.openvino_file import read_model
from tests.core.tflite_graphs import Op, Tensor, constant, file_of

LAYERS = ["conv1", "conv2", "dense", "logits"]


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not looked at here."""
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.01)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)


@pytest.mark.parametrize("scheme", ["", "static_int8", "weights_int8"])
def test_layers_of_keras_go_by_their_names_quantized_or_not(scheme: str, cpu: Device, tmp_path: Path) -> None:
    bundle = sample_models.load("keras_cnn_fmnist")
    if scheme:
        context = Context(cpu, 1, 0, tmp_path, sample_models.build_student, runtime="openvino")
        technique = LiteRtQuantization.model_validate({"scheme": scheme, "calibration_images": 16})
        bundle = result_of(technique.apply(bundle, context))
    artifact = RUNTIMES["openvino"].export(bundle, tmp_path)
    x = bundle.contract.prepare(bundle.data.test.pixels[:1])
    layers = RUNTIMES["openvino"].profile(artifact, cpu, threads=1, x=x).of("compute")
    assert [layer.name for layer in layers] == LAYERS
    assert [layer.macs for layer in layers] == [28 * 28 * 9 * 16, 14 * 14 * 9 * 16 * 32, 7 * 7 * 32 * 64, 64 * 10]


def test_weights_of_equal_numbers_cannot_be_told_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    same, other = (random.normal(size=(3, 3, 3, 3)).astype(np.float32) for _ in range(2))
    weights = {"net/a/Conv2D": same, "net/b/Conv2D": other, "net/c/Conv2D": same}
    tensors, operators, given = [Tensor("x", (1, 6, 6, 3))], [], "x"
    for number, (name, values) in enumerate(weights.items()):
        options = schema.Conv2DOptionsT()
        options.strideW = options.strideH = 1
        tensors += [constant(name, values), constant(f"b{number}", np.zeros(3, np.float32)), _image(f"y{number}")]
        operators.append(Op("CONV_2D", (given, name, f"b{number}"), given := f"y{number}", options))
    (file := tmp_path / "model.tflite").write_bytes(content := file_of(tensors, operators, "x", given))
    model = read_model(file)
    _name_weights(model, TfliteFile(content))
    names = [each.name for each in _ModelFile(model, np.zeros((1, 6, 6, 3), np.float32))._left.values()]
    assert len(names) == 3
    assert names[1] == "b"
    assert not {"a", "c"} & set(names)


def _image(name: str) -> Tensor:
    return Tensor(name, (1, 6, 6, 3))
