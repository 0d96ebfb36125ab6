"""OpenVINO's settings, and the files of other libraries that it opens."""

from __future__ import annotations

import json
import runpy
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.data import Floats
from core.devices import Device
from core.errors import BadInput, CannotCompose, Unavailable
from core.macs import count_macs
from runtimes import Artifact
from runtimes.onnx_file import onnx_bytes
from runtimes.openvino_ import OpenVino, OpenVinoSettings
from runtimes.openvino_file import arranged, read_model
from runtimes.openvino_session import FixedShapeSession
from runtimes.runtime import Session
from tests.runtimes.test_every_runtime import eager_logits, quantized

CPU = Device("cpu", "cpu", "some CPU", 1 << 34)
FLOAT = Situation("cnn", 100, 10, CPU, "openvino")
DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of layers are not looked at here."""
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.05)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)


def exported(bundle: ModelBundle, folder: Path, **settings: Any) -> Artifact:
    return OpenVino(OpenVinoSettings(**settings)).export(bundle, folder)


def opened(artifact: Artifact, *, threads: int = 1) -> Session:
    """By the settings in the artifact, whatever the runtime has."""
    return OpenVino(OpenVinoSettings()).open(artifact, CPU, threads=threads)


def images_of(bundle: ModelBundle) -> Floats:
    return bundle.contract.prepare(bundle.data.test.pixels)


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({}, ""),
        ({"hint": "throughput"}, "throughput"),
        ({"hint": "throughput", "streams": 1, "weights": "fp16"}, "throughput, 1 stream, FP16 file"),
        ({"hint": "latency", "streams": 4}, ""),
        ({"file": "onnx", "weights": "fp16", "place": "GPU"}, "from ONNX, on Intel GPU"),
    ],
)
def test_a_label_tells_what_is_unusual_and_has_an_effect(settings: dict[str, Any], label: str) -> None:
    assert OpenVinoSettings(**settings).label() == label


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"hint": "throughput", "streams": 2}, ("model.xml", "model.bin")),
        ({"file": "onnx", "weights": "fp16"}, ("model.onnx",)),
    ],
)
def test_every_setting_answers_like_the_network(
    settings: dict[str, Any], files: tuple[str, ...], bundle: ModelBundle, tmp_path: Path
) -> None:
    artifact, x = exported(bundle, tmp_path, **settings), images_of(bundle)
    assert artifact.files == files
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    with opened(artifact) as session:
        session.bind(x)()
        np.testing.assert_allclose(session.run(x), eager_logits(bundle, x), atol=1e-4)
        np.testing.assert_allclose(session.run(x[:1]), eager_logits(bundle, x[:1]), atol=1e-4)
    profile = OpenVino(OpenVinoSettings()).profile(artifact, CPU, threads=1, x=x[:2])
    assert profile.macs == 2 * count_macs(bundle.module, bundle.contract)
    assert {layer.name for layer in profile.of("compute")} == {"stem.0", "block.0", "head"}


def test_streams_are_requests_that_are_computed_at_the_same_time(bundle: ModelBundle, tmp_path: Path) -> None:
    artifact = exported(bundle, tmp_path, hint="throughput", streams=2)
    x = np.resize(images_of(bundle), (256, *bundle.contract.shape))
    with opened(artifact, threads=2) as session:
        assert session.requests == 2  # type: ignore[attr-defined]
        start_s = time.perf_counter()
        answers = session.flood(x, 0.2)  # type: ignore[attr-defined]
        passed_s = time.perf_counter() - start_s
        assert session._model.get_property("NUM_STREAMS") == 2  # type: ignore[attr-defined]
    ended, took = np.array(answers).T
    assert len(answers) >= 2
    assert 0 < ended.min() <= ended.max() < 1000 * passed_s
    began = ended - took
    assert max(int(((began < end) & (ended >= end)).sum()) for end in ended) == 2
    assert took.sum() < 2.1 * ended.max()


def test_weights_in_fp16_halve_the_file_and_are_all_that_is_rounded(bundle: ModelBundle, tmp_path: Path) -> None:
    (tmp_path / "fp32").mkdir()
    whole, half = exported(bundle, tmp_path / "fp32"), exported(bundle, tmp_path, weights="fp16")
    sizes = [(each.folder / "model.bin").stat().st_size for each in (whole, half)]
    assert sizes[1] < 0.55 * sizes[0]
    model, x = onnx.load_from_string(onnx_bytes(bundle, "fp32")), images_of(bundle)
    for weight in (each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT):
        rounded = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(["logits"], {"input": x})
    with opened(half) as session:
        logits = session.run(x)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.abs(logits - eager_logits(bundle, x)).max() > 2e-4


def test_a_quantized_onnx_graph_ships_as_the_file_it_is(bundle: ModelBundle, tmp_path: Path) -> None:
    x = images_of(bundle)
    content = quantized(bundle, x, tmp_path)
    int8 = replace(bundle, network=OnnxGraph(content), precision="int8")
    answers = {}
    for file in ("onnx", "ir"):
        (tmp_path / file).mkdir()
        with opened(exported(int8, tmp_path / file, file=file)) as session:
            answers[file] = session.run(x)
    assert (tmp_path / "onnx" / "model.onnx").read_bytes() == content
    np.testing.assert_array_equal(answers["onnx"], answers["ir"])


@pytest.mark.parametrize(
    ("settings", "change", "reason"),
    [
        ({"file": "onnx"}, {"form": "openvino", "precision": "int8"}, "exist as OpenVINO models only"),
        ({"weights": "fp16"}, {"form": "openvino", "precision": "w4"}, "smaller already"),
        ({"weights": "fp16"}, {"form": "onnx", "precision": "int8"}, "smaller already"),
        ({}, {"precision": "fp16"}, "four times slower"),
        ({}, {"precision": "bf16"}, "AVX512-BF16"),
        ({"place": "GPU"}, {"precision": "bf16"}, "fp32 or fp16"),
        ({"place": "NPU"}, {"precision": "fp32"}, "expected fp16"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    settings: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        OpenVino(OpenVinoSettings(**settings)).check(replace(FLOAT, **change))


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"file": "onnx", "weights": "fp16"}, {"form": "onnx", "precision": "int8"}),
        ({"weights": "fp16"}, {}),
        ({"place": "GPU"}, {"precision": "fp16"}),
        ({"place": "GPU"}, {"form": "openvino", "precision": "int8"}),
        ({"place": "NPU"}, {"precision": "fp16"}),
    ],
)
def test_what_fits_is_accepted(settings: dict[str, Any], change: dict[str, Any]) -> None:
    OpenVino(OpenVinoSettings(**settings)).check(replace(FLOAT, **change))


def test_a_place_is_offered_where_openvino_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "Core", lambda: SimpleNamespace(available_devices=["CPU", "GPU.0", "GPU.1"]))
    assert OpenVino(OpenVinoSettings(place="GPU")).why_unavailable(CPU) is None
    said = OpenVino(OpenVinoSettings(place="NPU")).why_unavailable(CPU)
    assert said == "OpenVINO finds no Intel NPU with its driver here, only CPU and GPU.0 and GPU.1"


class Elsewhere(openvino.Core):
    """Compiles for the CPU whatever was asked for, and keeps what that was."""

    asked: list[tuple[str, dict[str, Any], str]]

    def compile_model(self, model: Any, place: str, config: dict[str, Any]) -> Any:
        self.asked.append((place, config, str(model.input(0).get_partial_shape())))
        return super().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_a_gpu_is_told_its_precision_and_no_threads(
    bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "asked", [], raising=False)
    monkeypatch.setattr(openvino, "Core", Elsewhere)
    artifact = exported(replace(bundle, precision="fp16"), tmp_path, place="GPU", hint="throughput", streams=3)
    with opened(artifact) as session:
        session.run(images_of(bundle))
    config = {"INFERENCE_PRECISION_HINT": "f16", "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "3"}
    assert Elsewhere.asked == [("GPU", config, "[?,3,12,12]")]
    with pytest.raises(Unavailable, match="Intel GPU"):
        OpenVino(OpenVinoSettings()).profile(artifact, CPU, threads=1, x=images_of(bundle))


def test_an_npu_gets_a_model_for_each_batch_size(
    bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "asked", [], raising=False)
    monkeypatch.setattr(openvino, "Core", Elsewhere)
    artifact, x = exported(replace(bundle, precision="fp16"), tmp_path, place="NPU"), images_of(bundle)
    with opened(artifact) as session:
        assert isinstance(session, FixedShapeSession)
        assert session.device_name == openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
        for _ in range(2):
            np.testing.assert_allclose(session.run(x), eager_logits(bundle, x), atol=1e-4)
            session.bind(x[:1])()
    config = {"INFERENCE_PRECISION_HINT": "f16", "PERFORMANCE_HINT": "LATENCY"}
    assert Elsewhere.asked == [("NPU", config, "[1,3,12,12]"), ("NPU", config, "[7,3,12,12]")]


@pytest.mark.parametrize("settings", [{"hint": "throughput", "streams": 2}, {"file": "onnx"}, {"place": "NPU"}])
def test_sample_code_serves_as_it_was_measured(settings: dict[str, Any], bundle: ModelBundle, tmp_path: Path) -> None:
    artifact, x = exported(bundle, tmp_path, **settings), images_of(bundle)
    code = OpenVino(OpenVinoSettings()).sample_code(artifact)
    assert ("THROUGHPUT" in code, '"NUM_STREAMS": "2"' in code) == (("hint" in settings,) * 2)
    assert len(code.splitlines()) <= 40
    contract = {"shape": bundle.contract.shape, "mean": (0.0,) * 3, "std": (1.0,) * 3, "labels": []}
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    (tmp_path / "run.py").write_text(code.replace('"NPU"', '"CPU"').replace('"f16"', '"f32"'))
    logits = runpy.run_path(str(tmp_path / "run.py"))["logits"](x)
    np.testing.assert_allclose(logits, eager_logits(bundle, x), atol=1e-4)


def one_node(folder: Path, kind: int) -> Artifact:
    """Names of inputs and outputs as another program would choose them."""
    values = [helper.make_tensor_value_info("image", kind, ["N", 3, 8, 8])]
    values.append(helper.make_tensor_value_info("scores", kind, ["N", 3]))
    nodes = [helper.make_node("ReduceMax", ["image"], ["scores"], axes=[2, 3], keepdims=0)]
    model = helper.make_graph(nodes, "other", values[:1], values[1:])
    onnx.save(helper.make_model(model, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "a.onnx")
    return Artifact("openvino", "fp32", folder, ("a.onnx",))


def test_inputs_and_outputs_go_by_place_not_by_name(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    with opened(one_node(tmp_path, TensorProto.FLOAT)) as session:
        np.testing.assert_array_equal(session.run(x), x.max((2, 3)))


def test_a_model_of_integers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="one float32 input"):
        opened(one_node(tmp_path, TensorProto.UINT8))


def tflite(name: str) -> tuple[Artifact, Floats, Floats]:
    """A file of TensorFlow, x[N, C, H, W] and TensorFlow Lite's own logits; `data/make_tflite.py` made them."""
    with np.load(DATA / "tflite.npz") as given:
        return (
            Artifact("openvino", "fp32", DATA, (f"{name}.tflite",)),
            given["images"].transpose(0, 3, 1, 2),
            given[name],
        )


def test_a_tflite_file_made_for_one_image_takes_any_batch_channels_first() -> None:
    artifact, x, expected = tflite("pooled")
    with opened(artifact) as session:
        np.testing.assert_allclose(session.run(x), expected, atol=1e-5)
        np.testing.assert_allclose(session.run(x[:1]), expected[:1], atol=1e-5)
        session.bind(x)()
    profile = OpenVino(OpenVinoSettings()).profile(artifact, CPU, threads=1, x=x)
    assert profile.macs == 7 * (6 * 5 * 8 * 9 * (3 + 1) + 8 * 5)


def test_a_tflite_file_with_its_batch_built_in_takes_that_batch_only() -> None:
    artifact, x, expected = tflite("flattened")
    with opened(artifact) as session:
        each = np.concatenate([session.run(image[None]) for image in x])
        with pytest.raises(BadInput, match="Use a batch of 1"):
            session.run(x)
    np.testing.assert_allclose(each, expected, atol=1e-5)


def test_images_are_turned_only_where_they_have_to_be() -> None:
    port = read_model(DATA / "pooled.tflite").input(0)
    x = np.zeros((1, 3, 12, 10), np.float32)
    assert arranged(x, port).shape == (1, 12, 10, 3)
    assert arranged(x.transpose(0, 2, 3, 1), port).shape == (1, 12, 10, 3)
    with pytest.raises(BadInput, match=r"\[1, 12, 10, 4\]"):
        arranged(np.zeros((1, 12, 10, 4), np.float32), port)


def test_settings_that_do_nothing_are_as_usual() -> None:
    assert OpenVinoSettings(streams=4) == OpenVinoSettings()
    assert OpenVinoSettings(hint="throughput", streams=4).streams == 4
    assert OpenVinoSettings(file="onnx", weights="fp16").weights == "fp32"
