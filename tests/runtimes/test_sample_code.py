"""Every program that is taken home has at most 40 lines and does what its engine's settings say."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.bundle import Precision
from intake.items import Geometry
from intake.parsing.geometry import fitted
from runtimes import RUNTIMES, Artifact, EngineSettings, OnnxRuntimeSettings, OpenVinoSettings, runtime_of
from runtimes.sample_code import MOST_LINES, sample_code
from runtimes.torch_settings import CompileSettings, PyTorchSettings
from sample_models.datasets import PHOTOS

TWO_FOUR = ("model.pt2", "two_four.json")
COMPILED = CompileSettings(mode="max-autotune-no-cudagraphs")
VARIANTS = [
    ("pytorch", "fp32", ("model.pt2",), PyTorchSettings()),
    ("pytorch", "w8", ("model.pt2",), PyTorchSettings(layout="contiguous")),
    ("pytorch", "bf16", TWO_FOUR, PyTorchSettings()),
    ("torch_compile", "fp32", ("model.pt2",), COMPILED),
    ("torch_compile", "int8", ("model.pt2",), COMPILED),
    ("torch_compile", "w4", ("model.pt2",), COMPILED),
    ("torch_compile", "bf16", TWO_FOUR, COMPILED),
    ("torch_compile", "fp32", ("model.pt2",), CompileSettings(mode="max-autotune", freeze=True)),
    ("aotinductor", "fp32", ("model.pt2",), PyTorchSettings()),
    ("onnxruntime", "int8", ("model.onnx",), OnnxRuntimeSettings(provider="tensorrt", rewriting="extended")),
    ("openvino", "bf16", ("model.xml", "model.bin"), OpenVinoSettings(hint="throughput", streams=4)),
    ("tensorrt", "fp16", ("model.engine",), RUNTIMES["tensorrt"].settings),
]


def code_of(key: str, precision: Precision, files: tuple[str, ...], settings: EngineSettings) -> str:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, files[0]).write_bytes(b"weights")
        artifact = Artifact(key, precision, Path(folder), files, settings)
        return runtime_of(artifact).sample_code(artifact)


@pytest.mark.parametrize(("key", "precision", "files", "settings"), VARIANTS)
def test_no_program_has_more_than_forty_lines(
    key: str, precision: Precision, files: tuple[str, ...], settings: EngineSettings
) -> None:
    code = code_of(key, precision, files, settings)
    compile(code, "run.py", "exec")
    lines = code.splitlines()
    assert len(lines) <= MOST_LINES == 40
    assert max(map(len, lines)) < 140
    assert not any(";" in line for line in lines)


@pytest.mark.parametrize(
    ("key", "settings", "words"),
    [
        ("onnxruntime", OnnxRuntimeSettings(rewriting="basic"), "GraphOptimizationLevel.ORT_ENABLE_BASIC"),
        ("onnxruntime", OnnxRuntimeSettings(rewriting="none"), "GraphOptimizationLevel.ORT_DISABLE_ALL"),
        ("onnxruntime", OnnxRuntimeSettings(provider="tensorrt"), '("TensorrtExecutionProvider", tensorrt)'),
        ("openvino", OpenVinoSettings(), '"PERFORMANCE_HINT": "LATENCY"}'),
        ("openvino", OpenVinoSettings(hint="throughput", streams=4), '"NUM_STREAMS": "4"'),
        ("openvino", OpenVinoSettings(place="NPU"), 'compile_model(model, "NPU"'),
        ("pytorch", PyTorchSettings(), "channels_last"),
        ("torch_compile", CompileSettings(freeze=True), "torch._inductor.config.freezing = True"),
        ("torch_compile", CompileSettings(mode="reduce-overhead"), 'torch.compile(network, mode="reduce-overhead")'),
    ],
)
def test_the_engines_settings_are_in_its_program(key: str, settings: EngineSettings, words: str) -> None:
    assert words in code_of(key, "fp32", ("model.file",), settings)


def test_a_program_leaves_out_what_its_settings_do_not_ask_for() -> None:
    contiguous = code_of("pytorch", "fp32", ("model.pt2",), PyTorchSettings(layout="contiguous"))
    assert "channels_last" not in contiguous
    assert "torchao" not in contiguous
    assert "GraphOptimizationLevel" not in code_of("onnxruntime", "fp32", ("model.onnx",), OnnxRuntimeSettings())
    assert "INFERENCE_NUM_THREADS" not in code_of("openvino", "fp32", ("model.xml",), OpenVinoSettings(place="GPU"))


@pytest.mark.parametrize(
    "fitting",
    [
        {"fit": "crop", "crop_share": 0.875, "interpolation": "bilinear"},
        {"fit": "crop", "crop_share": 1.0, "interpolation": "bicubic"},
        {"fit": "squash", "crop_share": 1.0, "interpolation": "lanczos"},
        {"fit": "pad", "crop_share": 1.0, "interpolation": "bicubic"},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_photograph_is_prepared_as_its_contract_says(fitting: dict[str, Any], channels: int, tmp_path: Path) -> None:
    photo = sorted(PHOTOS.glob("*.webp"))[1]
    program = opened_program({"shape": (channels, 40, 48), **fitting}, channels, tmp_path)
    with Image.open(photo) as image:
        expected = fitted(image, Geometry(channels=channels, height=40, width=48, **fitting))
    assert np.array_equal(program["pixels"](photo), expected)


def test_a_contract_of_an_earlier_version_distorts_as_it_did(tmp_path: Path) -> None:
    photo = sorted(PHOTOS.glob("*.webp"))[1]
    program = opened_program({"shape": (3, 40, 48)}, 3, tmp_path)
    with Image.open(photo) as image:
        expected = np.asarray(image.convert("RGB").resize((48, 40))).transpose(2, 0, 1)
    assert np.array_equal(program["pixels"](photo), expected)


@pytest.mark.parametrize(("name", "words"), [("nothing.png", "No such file"), ("text.png", "cannot identify image")])
def test_of_a_picture_that_cannot_be_read_one_sentence_is_told(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    opened_program({"shape": (3, 4, 4)}, 3, tmp_path)
    artifact = Artifact("onnxruntime", "fp32", tmp_path, ("model.onnx",), OnnxRuntimeSettings())
    (tmp_path / "run.py").write_text(sample_code(artifact, imports="import math", engine="logits = math.exp"))
    done = subprocess.run([sys.executable, "run.py", name], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    (told,) = done.stderr.splitlines()
    assert words in told
    assert name in told
    assert (done.returncode, done.stdout) == (1, "")


def opened_program(contract: dict[str, Any], channels: int, folder: Path) -> dict[str, Any]:
    """What a program defines whose engine is left out."""
    numbers = {"mean": [127.0] * channels, "std": [128.0] * channels, "labels": ["cat"]}
    (folder / "contract.json").write_text(json.dumps(contract | numbers))
    artifact = Artifact("onnxruntime", "fp32", folder, ("model.onnx",), OnnxRuntimeSettings())
    program: dict[str, Any] = {"__name__": "run", "__file__": str(folder / "run.py")}
    exec(sample_code(artifact, imports="import math", engine="logits = math.exp"), program)
    return program
