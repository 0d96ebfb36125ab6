"""What every runtime promises: the logits of the eager network, for any batch, in a fresh process too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bridges.environments import LITERT_TORCH
from core.bundle import ModelBundle, OnnxGraph, Precision, Situation
from core.data import Floats
from core.devices import Device
from core.errors import CannotCompose
from runtimes import EXTRAS, RUNTIMES, Artifact, Extra
from runtimes.pytorch import PyTorch
from runtimes.torch_settings import CompileSettings, PyTorchSettings
from tests.runtimes.conftest import Exported

ROOT = Path(__file__).parents[2]
CLASSES = 10
HEADERS = sysconfig.get_path("include")
GPU = Device("cuda:0", "cuda", "Test GPU", 1 << 34, compute_capability=(8, 0))

OTHERS = ("pytorch", "torch_compile", "aotinductor", "onnxruntime", "tensorrt")
"""Engines that open no `.tflite` file."""

every_runtime = pytest.mark.parametrize("key", RUNTIMES)


def eager_logits(bundle: ModelBundle, x: Floats) -> Floats:
    network = bundle.module
    network.eval()
    try:
        with torch.no_grad():
            return network(torch.from_numpy(x)).numpy()
    finally:
        network.train()


def skip_where_unavailable(key: str, device: Device) -> None:
    if reason := RUNTIMES[key].why_unavailable(device):
        pytest.skip(reason)


@pytest.fixture(scope="session", params=RUNTIMES)
def artifact(request: pytest.FixtureRequest, exported: Callable[[str], Exported]) -> Artifact:
    return exported(request.param).artifact


def test_logits_equal_the_eager_network_for_a_batch_of_one_and_of_seven(
    artifact: Artifact, bundle: ModelBundle, cpu: Device
) -> None:
    x = bundle.contract.prepare(bundle.data.test.pixels)
    with RUNTIMES[artifact.runtime].open(artifact, cpu, threads=1) as session:
        one, seven = session.run(x[:1]), session.run(x)
        session.bind(x)()
    assert seven.dtype == np.float32
    np.testing.assert_allclose(one, eager_logits(bundle, x[:1]), atol=1e-4)
    np.testing.assert_allclose(seven, eager_logits(bundle, x), atol=1e-4)


@every_runtime
def test_export_leaves_the_network_as_it_was(key: str, exported: Callable[[str], Exported]) -> None:
    found = exported(key)
    assert found.trains
    assert all(torch.equal(value, found.before[name]) for name, value in found.after.items())


def test_artifact_is_what_lies_in_the_folder(artifact: Artifact) -> None:
    on_disk = {path.name: path.stat().st_size for path in artifact.folder.iterdir()}
    assert set(artifact.files) == set(on_disk)
    assert artifact.size_bytes == sum(on_disk.values())


def test_sample_code_runs_alone_in_a_fresh_process(artifact: Artifact, bundle: ModelBundle, tmp_path: Path) -> None:
    code = RUNTIMES[artifact.runtime].sample_code(artifact)
    assert len(code.splitlines()) <= 40
    pixels, labels = bundle.data.test.pixels, bundle.contract.labels
    expected = eager_logits(bundle, bundle.contract.prepare(pixels)).argmax(1)
    right = expected.copy()
    right[0] += 1
    for name in artifact.files:
        (tmp_path / name).write_bytes((artifact.folder / name).read_bytes())
    np.savez(tmp_path / "samples.npz", pixels=pixels, labels=right)
    (tmp_path / "classify.py").write_text(code)
    contract = {"shape": bundle.contract.shape, "mean": bundle.contract.mean, "std": bundle.contract.std}
    (tmp_path / "contract.json").write_text(json.dumps({**contract, "labels": labels}))

    lines = run_program(tmp_path).splitlines()
    assert [line.split(" (")[0] for line in lines[:-1]] == [f"{i}: {labels[best]}" for i, best in enumerate(expected)]
    assert lines[-1] == f"{6 / 7:.1%} of 7 images right"
    if (
        artifact.runtime == "onnxruntime"
    ):  # the part that reads image files is the same for all, and this one starts fastest
        (tmp_path / "samples.npz").unlink()
        Image.fromarray(pixels[3].transpose(1, 2, 0)).save(tmp_path / "image.png")
        assert run_program(tmp_path, "image.png").startswith(f"0: {labels[expected[3]]} (")


def run_program(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-I", "classify.py", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("key", ["pytorch", "torch_compile", "openvino"])
def test_bf16_is_close_to_fp32_but_not_the_same(
    key: str, bundle_in: Callable[[Precision], ModelBundle], cpu: Device, tmp_path: Path
) -> None:
    skip_where_unavailable(key, cpu)
    bundle, runtime = bundle_in("bf16"), RUNTIMES[key]
    try:
        runtime.check(Situation("cnn", 7, 10, cpu, key, precision="bf16"))
    except CannotCompose as refusal:
        pytest.skip(str(refusal))
    x = bundle.contract.prepare(bundle.data.test.pixels)
    with runtime.open(runtime.export(bundle, tmp_path), cpu, threads=1) as session:
        logits = session.run(x)
    expected = eager_logits(bundle, x)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=0.03 * np.abs(expected).max())
    assert np.abs(logits - expected).max() > 1e-4


def test_an_int8_graph_gives_the_same_logits_in_both_engines_that_take_it(
    bundle: ModelBundle, cpu: Device, tmp_path: Path
) -> None:
    x = bundle.contract.prepare(bundle.data.test.pixels)
    int8 = replace(bundle, network=OnnxGraph(quantized(bundle, x, tmp_path)), precision="int8")
    logits = {}
    for key in ("onnxruntime", "openvino"):
        skip_where_unavailable(key, cpu)
        RUNTIMES[key].check(Situation("cnn", 7, 10, cpu, key, form="onnx", precision="int8"))
        (folder := tmp_path / key).mkdir()
        with RUNTIMES[key].open(RUNTIMES[key].export(int8, folder), cpu, threads=1) as session:
            logits[key] = session.run(x)
    float32 = eager_logits(bundle, x)
    largest = np.abs(float32).max()
    np.testing.assert_allclose(logits["onnxruntime"], float32, atol=0.05 * largest)
    np.testing.assert_allclose(logits["openvino"], logits["onnxruntime"], atol=0.01 * largest)
    assert np.abs(logits["onnxruntime"] - float32).max() > 1e-4 * largest


def quantized(bundle: ModelBundle, x: Floats, folder: Path) -> bytes:
    """The bundle quantized by ONNX Runtime, as the INT8 technique hands it on."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        batches = iter([{"input": x}])

        def get_next(self) -> dict[str, Floats] | None:
            return next(self.batches, None)

    source = RUNTIMES["onnxruntime"].export(bundle, folder).main_file
    # Without reduced range, CPUs that lack VNNI overflow their 16-bit sums and the engines differ.
    settings = {"quant_format": QuantFormat.QDQ, "per_channel": True, "reduce_range": True}
    quantize_static(source, folder / "int8.onnx", Reader(), **settings)
    content = (folder / "int8.onnx").read_bytes()
    assert b"QuantizeLinear" in content
    return content


@pytest.mark.parametrize(
    ("key", "situation", "reason"),
    [
        ("pytorch", {"form": "onnx", "precision": "int8"}, "the runtime that the network was quantized for"),
        ("torch_compile", {"form": "onnx", "precision": "int8"}, "the runtime that the network was quantized for"),
        ("pytorch", {"precision": "fp16"}, "four times slower"),
        ("onnxruntime", {"precision": "fp16"}, "four times slower"),
        ("openvino", {"precision": "fp16"}, "four times slower"),
        ("onnxruntime", {"precision": "bf16"}, "no bf16 convolutions"),
        ("openvino", {"precision": "bf16"}, "AVX512-BF16"),
        ("pytorch", {"precision": "bf16", "device": Device("cuda:0", "cuda", "T4", 1, (7, 5))}, "7.5"),
        ("onnxruntime", {"form": "onnx", "precision": "int8", "device": GPU}, "compute these graphs in float"),
        *((key, {"form": "keras"}, "Choose LiteRT or OpenVINO") for key in OTHERS),
        *((key, {"form": "tflite", "precision": "int8"}, "Choose LiteRT or OpenVINO") for key in OTHERS),
        ("openvino", {"form": "tflite", "precision": "w4"}, "4-bit weights"),
        ("openvino", {"form": "tflite", "precision": "int16"}, "16-bit integers"),
        ("litert", {"form": "onnx"}, "nothing converts others"),
        ("litert", {"precision": "bf16"}, "fp32, which LiteRT Torch converts"),
        ("litert", {"task": "text"}, "images"),
    ],
)
def test_refusals_give_the_reason(key: str, situation: dict[str, object], reason: str) -> None:
    plain_cpu = Device("cpu", "cpu", "An old CPU", 1 << 30)
    known = {"family": "cnn", "train_images": 1, "classes": 2, "device": plain_cpu, "runtime": key}
    with pytest.raises(CannotCompose, match=reason):
        RUNTIMES[key].check(Situation(**{**known, **situation}))


@every_runtime
def test_fp32_fits_every_runtime(key: str, cpu: Device) -> None:
    if key == "litert" and LITERT_TORCH.why_missing:
        pytest.skip(LITERT_TORCH.why_missing)
    RUNTIMES[key].check(Situation("cnn", 7, 10, cpu, key))


def test_threads_are_set_inside_the_session_and_restored_after(
    bundle: ModelBundle, cpu: Device, tmp_path: Path
) -> None:
    before, inside = torch.get_num_threads(), torch.get_num_threads() + 1
    artifact = RUNTIMES["pytorch"].export(bundle, tmp_path)
    with RUNTIMES["pytorch"].open(artifact, cpu, threads=inside):
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == before


def test_torch_compile_has_nothing_left_to_compile_for_a_batch_of_one_or_of_many(
    bundle: ModelBundle, cpu: Device, tmp_path: Path
) -> None:
    skip_where_unavailable("torch_compile", cpu)
    artifact = RUNTIMES["torch_compile"].export(bundle, tmp_path)
    no_recompiling = torch._dynamo.config.patch(error_on_recompile=True)
    with RUNTIMES["torch_compile"].open(artifact, cpu, threads=1) as session, no_recompiling:
        for batch in (1, 16, 100, 256):
            x = np.zeros((batch, *bundle.contract.shape), np.float32)
            assert session.run(x).shape == (batch, CLASSES)
            session.bind(x)()


@pytest.mark.parametrize(
    ("key", "settings", "label"),
    [
        ("pytorch", {"layout": "contiguous"}, "contiguous"),
        ("torch_compile", {"layout": "contiguous", "mode": "max-autotune"}, "contiguous, max autotune"),
        ("torch_compile", {}, ""),
    ],
)
def test_what_is_not_as_usual_is_in_the_title(key: str, settings: dict[str, str], label: str) -> None:
    assert type(RUNTIMES[key].settings).model_validate(settings).label() == label


def test_both_layouts_give_the_same_logits_and_really_differ(bundle: ModelBundle, cpu: Device, tmp_path: Path) -> None:
    x = bundle.contract.prepare(bundle.data.test.pixels)
    for layout in ("contiguous", "channels_last"):
        runtime = PyTorch(PyTorchSettings(layout=layout))
        artifact = runtime.export(bundle, tmp_path)
        with runtime.open(artifact, cpu, threads=1) as session:
            np.testing.assert_allclose(session.run(x), eager_logits(bundle, x), atol=1e-4)
            weight = next(value for value in session._network.parameters() if value.ndim == 4 and value.shape[1] > 1)
        assert weight.is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")
        assert ("channels_last" in runtime.sample_code(artifact)) == (layout == "channels_last")


def test_cuda_graphs_are_refused_on_a_cpu(cpu: Device) -> None:
    runtime = PyTorch(CompileSettings(mode="reduce-overhead"))
    with pytest.raises(CannotCompose, match="records CUDA graphs"):
        runtime.check(Situation("cnn", 7, 10, cpu, "torch_compile"))
    runtime.check(Situation("cnn", 7, 10, GPU, "torch_compile"))


@pytest.mark.parametrize(
    ("missing", "device", "reason"),
    [
        ("g++", GPU, r"needs a C\+\+ compiler"),
        ("headers", GPU, "needs Python's headers"),
        ("triton", GPU, "needs Triton"),
        ("torch", GPU, "PyTorch is not installed: pip install torch"),
    ],
)
def test_torch_compile_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, missing: str, device: Device, reason: str
) -> None:
    monkeypatch.setattr("runtimes.pytorch.why_no_cuda", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: None if missing == "g++" else name)
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere" if missing == "headers" else HEADERS)
    found = {"runtimes.fit.find_spec"}
    for name in found:
        monkeypatch.setattr(name, lambda module: None if module == missing else object())
    assert re.search(reason, RUNTIMES["torch_compile"].why_unavailable(device))


def test_engines_for_the_cpu_say_so_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert "CPU build" in RUNTIMES["onnxruntime"].why_unavailable(GPU)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert RUNTIMES["onnxruntime"].why_unavailable(GPU) is None
    assert "NVIDIA" in RUNTIMES["openvino"].why_unavailable(GPU)
    monkeypatch.setattr("runtimes.fit.version", lambda name: "2.15.0+cpu")
    assert "built for CPUs only" in RUNTIMES["pytorch"].why_unavailable(GPU)


def test_an_extra_is_installed_when_one_of_its_modules_can_be_found() -> None:
    assert Extra("tensorrt", "T", ("nowhere", "json"), "").is_installed
    assert not Extra("tensorrt", "T", ("nowhere",), "").is_installed
    assert EXTRAS["tensorrt"].command == "python3 studio.py install tensorrt"


def test_the_registry_is_keyed_by_the_runtimes_own_keys_and_loads_no_engine() -> None:
    code = (
        "import sys; from runtimes import RUNTIMES, EXTRAS;"
        "assert all(key == each.key for key, each in RUNTIMES.items());"
        "assert all(key == each.key for key, each in EXTRAS.items());"
        "print(*({'torch', 'onnxruntime', 'openvino', 'onnx', 'streamlit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
