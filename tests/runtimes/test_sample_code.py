"""Every program that is taken home has at most 40 lines and does what its engine's settings say."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from core.bundle import Precision
from runtimes import RUNTIMES, Artifact, EngineSettings, OnnxRuntimeSettings, OpenVinoSettings, runtime_of
from runtimes.sample_code import MOST_LINES
from runtimes.torch_settings import CompileSettings, PyTorchSettings

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
