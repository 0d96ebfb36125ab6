"""ONNX Runtime's settings, and what it is not asked to do, with the reason."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, OnnxGraph, Situation
from core.data import Floats, InputContract
from core.devices import Device
from core.errors import CannotCompose, Unavailable
from core.progress import result_of
from optimizers.quantization.ort_static import OrtStatic
from optimizers.quantization.quantizer import Source, StaticGrid
from runtimes.onnxruntime_ import OnnxRuntime, OnnxRuntimeSettings, _options
from runtimes.runtime import Artifact
from tests.runtimes.test_every_runtime import eager_logits, quantized

CPU = Device("cpu", "cpu", "some CPU", 1 << 34)
GPU = Device("cuda:1", "cuda", "some GPU", 1 << 34, compute_capability=(9, 0))
FLOAT = Situation("cnn", 100, 10, CPU, "onnxruntime")
USUAL = OnnxRuntimeSettings()
TENSORRT = OnnxRuntimeSettings(provider="tensorrt")


@pytest.fixture(autouse=True)
def few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of layers are not looked at here."""
    monkeypatch.setattr("runtimes.layers_shared.SECONDS", 0.05)
    monkeypatch.setattr("runtimes.layers_shared.WARM_UP_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (USUAL, {}),
        (USUAL, {"precision": "fp16", "device": GPU}),
        (USUAL, {"form": "onnx", "precision": "int8"}),
        (USUAL, {"form": "onnx", "precision": "w8"}),
        (USUAL, {"form": "onnx", "precision": "w4"}),
        (TENSORRT, {"form": "onnx", "precision": "int8", "device": GPU}),
    ],
)
def test_what_it_serves_is_accepted(settings: OnnxRuntimeSettings, change: dict[str, Any]) -> None:
    OnnxRuntime(settings).check(replace(FLOAT, **change))


@pytest.mark.parametrize(
    ("settings", "change", "reason"),
    [
        (USUAL, {"form": "openvino", "precision": "int8"}, "nothing turns it back"),
        (USUAL, {"form": "onnx", "precision": "fp8"}, "no 8- or 4-bit floats"),
        (USUAL, {"form": "onnx", "precision": "nvfp4", "device": GPU}, "no 8- or 4-bit floats"),
        (USUAL, {"precision": "bf16"}, "no bf16 convolutions"),
        (USUAL, {"precision": "fp16"}, "four times slower"),
        (USUAL, {"form": "onnx", "precision": "int8", "device": GPU}, "compute these graphs in float"),
        (TENSORRT, {"form": "onnx", "precision": "w4", "device": GPU}, "compute these graphs in float"),
    ],
)
def test_what_it_has_no_kernels_for_is_refused_with_the_reason(
    settings: OnnxRuntimeSettings, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(CannotCompose, match=reason):
        OnnxRuntime(settings).check(replace(FLOAT, **change))


@pytest.mark.parametrize(
    ("settings", "there", "device", "reason"),
    [
        (USUAL, ("CPU",), CPU, None),
        (TENSORRT, ("Tensorrt", "CUDA", "CPU"), CPU, "NVIDIA GPUs only"),
        (TENSORRT, ("CPU",), GPU, "CPU build"),
        (TENSORRT, ("CUDA", "CPU"), GPU, "no TensorRT provider, only CUDAExecutionProvider and CPUExecutionProvider"),
        (TENSORRT, ("Tensorrt", "CUDA", "CPU"), GPU, None),
        (USUAL, ("CUDA", "CPU"), GPU, None),
    ],
)
def test_a_provider_is_offered_where_it_is_built_in(
    settings: OnnxRuntimeSettings,
    there: tuple[str, ...],
    device: Device,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [f"{name}ExecutionProvider" for name in there])
    said = OnnxRuntime(settings).why_unavailable(device)
    assert said is None if reason is None else reason in str(said)


def test_labels() -> None:
    assert USUAL.label() == ""
    assert OnnxRuntimeSettings(provider="tensorrt", rewriting="none").label() == "with TensorRT, no rewriting"


def images_of(bundle: ModelBundle) -> Floats:
    return bundle.contract.prepare(bundle.data.test.pixels)


def test_rewriting_changes_what_runs_and_not_what_is_answered(bundle: ModelBundle, tmp_path: Path) -> None:
    """The fused operators are ONNX Runtime's own names: without rewriting there are only those of the file."""
    runtime, x = OnnxRuntime(USUAL), images_of(bundle)
    artifact = runtime.export(bundle, tmp_path)
    operators = {}
    for rewriting in ("all", "basic", "none"):
        changed = replace(artifact, engine=OnnxRuntimeSettings(rewriting=rewriting))
        with runtime.open(changed, CPU, threads=1) as session:
            np.testing.assert_allclose(session.run(x), eager_logits(bundle, x), atol=1e-4)
        layers = runtime.profile(changed, CPU, threads=1, x=x[:2]).layers
        operators[rewriting] = [layer.op for layer in layers]
    assert {"Relu", "Conv", "Gemm"} <= set(operators["none"])
    assert len(operators["none"]) >= len(operators["basic"]) >= len(operators["all"])
    assert operators["none"].count("Relu") == 2
    assert "Relu" not in operators["all"]


def test_nothing_else_is_set() -> None:
    """Prepacked weights, memory arenas and the order of execution stay as ONNX Runtime has them."""
    usual, ours = onnxruntime.SessionOptions(), _options(USUAL, threads=3)
    names = [name for name in dir(usual) if not name.startswith("_") and not callable(getattr(usual, name))]
    differing = {name for name in names if getattr(usual, name) != getattr(ours, name)}
    assert differing == {"intra_op_num_threads", "log_severity_level"}
    assert len(names) > 10


class Recorded:
    """Keeps what a session was asked to be opened with."""

    def __init__(self, model: Any, options: Any, providers: Any, disabled_optimizers: Any = ()) -> None:
        self.providers = providers

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.providers]

    def io_binding(self) -> SimpleNamespace:
        return SimpleNamespace()


@pytest.mark.parametrize(("precision", "flags"), [("fp32", set()), ("fp16", {"trt_fp16_enable"})])
def test_tensorrt_is_told_batches_precision_and_where_to_keep_what_it_built(
    precision: str, flags: set[str], bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = OnnxRuntime(TENSORRT).export(replace(bundle, precision=precision), tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorded)
    session = OnnxRuntime(USUAL).open(artifact, GPU, threads=1)
    (first, options), *rest = session._session.providers  # type: ignore[attr-defined]
    assert (first, rest) == (
        "TensorrtExecutionProvider",
        [("CUDAExecutionProvider", {"device_id": 1}), ("CPUExecutionProvider", {})],
    )
    shapes = {options[f"trt_profile_{end}_shapes"] for end in ("min", "opt", "max")}
    assert shapes == {"input:1x3x12x12", "input:16x3x12x12", "input:256x3x12x12"}
    caches = {"trt_engine_cache_enable", "trt_timing_cache_enable"}
    assert {name for name, value in options.items() if value is True} == flags | caches
    assert options["device_id"] == 1
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path / "tensorrt")
    assert (tmp_path / "tensorrt").is_dir()


@pytest.mark.parametrize(
    ("settings", "left", "named"),
    [(USUAL, ["CPU"], "CUDAExecutionProvider"), (TENSORRT, ["CUDA", "CPU"], "TensorrtExecutionProvider")],
)
def test_falling_back_to_another_provider_is_an_error(
    settings: OnnxRuntimeSettings,
    left: list[str],
    named: str,
    bundle: ModelBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifact = OnnxRuntime(settings).export(bundle, tmp_path)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorded)
    monkeypatch.setattr(Recorded, "get_providers", lambda _self: [f"{name}ExecutionProvider" for name in left])
    with pytest.raises(Unavailable, match=named):
        OnnxRuntime(settings).open(artifact, GPU, threads=1)


@pytest.mark.parametrize("symmetric", [True, False])
def test_tensorrt_takes_symmetric_grids_only(symmetric: bool, bundle: ModelBundle, tmp_path: Path) -> None:
    network = bundle.module.eval()
    source = Source(network, ("stem.0", "head"), bundle.contract, images_of(bundle), "cnn", tmp_path, 1)
    made = result_of(OrtStatic(StaticGrid(symmetric=symmetric)).observe(source)).quantize({"stem.0": 8, "head": 8})
    int8 = replace(bundle, network=made.network, precision="int8")
    if symmetric:
        assert OnnxRuntime(TENSORRT).export(int8, tmp_path).files == ("model.onnx",)
        return
    with pytest.raises(CannotCompose, match="zero points"):
        OnnxRuntime(TENSORRT).export(int8, tmp_path)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_sample_code_serves_as_it_was_measured(precision: str, bundle: ModelBundle, tmp_path: Path) -> None:
    x = images_of(bundle)
    given = bundle
    if precision == "int8":
        given = replace(bundle, network=OnnxGraph(quantized(bundle, x, tmp_path)), precision="int8")
    artifact = OnnxRuntime(OnnxRuntimeSettings(rewriting="extended")).export(given, tmp_path)
    code = OnnxRuntime(USUAL).sample_code(artifact)
    assert "ORT_ENABLE_EXTENDED" in code
    assert ("CUDA" in code) == (precision == "fp32")
    with OnnxRuntime(USUAL).open(artifact, CPU, threads=1) as session:
        expected = session.run(x)
    np.testing.assert_allclose(run_sample(code, bundle, tmp_path)["logits"](x), expected, atol=1e-5)


def test_sample_code_gives_tensorrt_the_options_that_were_measured(
    bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = OnnxRuntime(TENSORRT).export(replace(bundle, precision="fp16"), tmp_path)
    code = OnnxRuntime(USUAL).sample_code(artifact)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorded)
    (first, options), *rest = run_sample(code, bundle, tmp_path)["providers"]
    session = OnnxRuntime(USUAL).open(artifact, replace(GPU, id="cuda:0"), threads=1)
    (expected_first, expected), *_ = session._session.providers  # type: ignore[attr-defined]
    timings = {"device_id": 0, "trt_timing_cache_enable": True, "trt_timing_cache_path": str(tmp_path / "tensorrt")}
    assert (first, {**timings, **options}) == (expected_first, expected)
    assert rest == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def run_sample(code: str, bundle: ModelBundle, folder: Path) -> dict[str, Any]:
    contract = {"shape": bundle.contract.shape, "mean": (0.0,) * 3, "std": (1.0,) * 3, "labels": []}
    (folder / "contract.json").write_text(json.dumps(contract))
    (folder / "run.py").write_text(code)
    return runpy.run_path(str(folder / "run.py"))


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_layer_left_in_float_between_quantized_ones_is_computed_in_float(symmetric: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(3)]
    module = nn.Sequential(*(part for layer in layers for part in layer), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    contract = InputContract(8, 8, 8, (128.0,) * 8, (64.0,) * 8, tuple("abcdefgh"))
    x = np.random.default_rng(0).standard_normal((16, *contract.shape)).astype(np.float32)
    names = ("0", "2", "4")
    source = Source(module, names, contract, x, "cnn", tmp_path, 1)
    observed = result_of(OrtStatic(StaticGrid(symmetric=symmetric)).observe(source))
    found = {}
    for kept in ((), ("2",)):
        graph = observed.quantize({name: 8 for name in names if name not in kept}).network
        (tmp_path / "model.onnx").write_bytes(graph.content)
        artifact = Artifact("onnxruntime", "int8", tmp_path, ("model.onnx",), USUAL)
        layers_of = OnnxRuntime(USUAL).profile(artifact, CPU, threads=1, x=x[:1]).of("compute")
        found[kept] = {layer.name: layer.precision for layer in layers_of}
        assert ("WeightBiasQuantization" in OnnxRuntime(USUAL).sample_code(artifact)) == bool(kept and not symmetric)
    if not symmetric:
        assert found == {(): dict.fromkeys(names, "int8"), ("2",): {"0": "int8", "2": "fp32", "4": "int8"}}
