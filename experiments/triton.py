"""The model repository that NVIDIA Triton Inference Server loads a variant from.

Layout and fields follow https://github.com/triton-inference-server/server, docs/user_guide/model_repository.md and
model_configuration.md; the parameters of each backend follow its own README.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from experiments.recipe import Recipe
from experiments.result import RunResult
from runtimes.onnxruntime_ import OnnxRuntimeSettings
from runtimes.openvino_ import OpenVinoSettings
from runtimes.tensorrt_ import TensorRtSettings
from runtimes.torch_settings import CompileSettings

Backend = Literal["onnxruntime", "openvino", "tensorrt", "python"]
NEARLY_BEST = 0.95
"""Share of the highest measured throughput from which on a batch size is preferred."""
UNMEASURED_BATCH = 8
"""Largest batch where only one batch size was measured."""
LARGEST_BATCH = 4096
"""The most images that an exported graph takes at once."""
RUNTIME_FILES = ("run.py", "contract.json")
"""What the Python backend needs beside the artifact."""

_CONFIG = """# NVIDIA Triton Inference Server. {batches}
name: {name}
{backend}
max_batch_size: {largest}
input [ {{ name: "input" data_type: {kind_of_input} dims: [ {shape} ] }} ]
output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: "labels.txt" }} ]
instance_group [ {{ count: 1 kind: {kind} }} ]
{batching}{parameters}"""

_PYTHON_MODEL = '''"""Triton's Python backend around `logits` of run.py, which lies beside this file."""

import os
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

os.environ.setdefault("OMP_NUM_THREADS", "{threads}")  # as it was measured; read when the model is opened
sys.path.insert(0, str(Path(__file__).parent))
from run import logits  # opens the model


class TritonPythonModel:
    """`input` as contract.json says to `logits` FP32 [N, classes]."""

    def execute(self, requests):
        """Answer all requests with one call of the engine."""
        inputs = [pb_utils.get_input_tensor_by_name(request, "input").as_numpy() for request in requests]
        ends = np.cumsum([len(each) for each in inputs])[:-1]
        outputs = np.split(logits(np.concatenate(inputs)), ends)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("logits", each)]) for each in outputs]
'''


@dataclass(frozen=True)
class Repository:
    """One model as Triton expects it; names are relative to the folder of the repository."""

    name: str
    backend: Backend
    texts: Mapping[str, str]
    """What is written, by name."""
    copies: Mapping[str, str]
    """What is copied from the package, by name."""


def repository(recipe: Recipe, result: RunResult, contract: Mapping[str, Any]) -> Repository:
    """The repository of a variant; `contract` is the contents of its `contract.json`."""
    name = re.sub(r"\W", "_", f"{recipe.model}_{recipe.runtime}_{result.precision}")
    backend = backend_of(recipe, result)
    config = _config(name, backend, recipe, result, contract)
    texts = {f"{name}/config.pbtxt": config, f"{name}/labels.txt": "".join(f"{each}\n" for each in contract["labels"])}
    files = result.artifact_files
    if backend == "python":
        texts[f"{name}/1/model.py"] = _PYTHON_MODEL.format(threads=result.conditions.threads)
        files = (*files, *RUNTIME_FILES, *(("tokenizer.json",) if contract.get("task") == "text" else ()))
    renamed = {files[0]: "model.plan"} if backend == "tensorrt" else {}
    return Repository(name, backend, texts, {f"{name}/1/{renamed.get(file, file)}": file for file in files})


def backend_of(recipe: Recipe, result: RunResult) -> Backend:
    """Which of Triton's backends serves it: the engine's own, or Python where there is none.

    TensorRT's opens no engine that TensorRT for RTX built, and OpenVINO's is for CPUs. None turns images as `.tflite`
    files want them.
    """
    if result.artifact_files[0].endswith(".tflite"):
        return "python"
    if recipe.runtime == "onnxruntime":
        return "onnxruntime"
    if isinstance(recipe.engine, OpenVinoSettings) and recipe.engine.place == "CPU":
        return "openvino"
    if recipe.runtime == "tensorrt" and "tensorrt" in result.conditions.libraries:
        return "tensorrt"
    return "python"


def compiles_each_batch(recipe: Recipe, result: RunResult) -> bool:
    """Whether the engine would compile anew for every number of images that it is given together."""
    return isinstance(recipe.engine, CompileSettings) and (recipe.engine.freeze or result.precision == "int8")


def largest_batch(recipe: Recipe) -> int:
    """The most images that the artifact takes at once."""
    return recipe.engine.largest_batch if isinstance(recipe.engine, TensorRtSettings) else LARGEST_BATCH


def _config(name: str, backend: Backend, recipe: Recipe, result: RunResult, contract: Mapping[str, Any]) -> str:
    shape, classes = list(contract["shape"]), [len(contract["labels"])]
    largest, preferred, batches = _batches(recipe, result)
    batching = (
        f"dynamic_batching {{ preferred_batch_size: [ {', '.join(map(str, preferred))} ] }}\n" if preferred else ""
    )
    if backend == "openvino":
        # With a largest batch the backend fills every batch up to it: https://github.com/triton-inference-server/
        # openvino_backend, ENABLE_BATCH_PADDING. Without one it takes any batch that a client sends.
        shape, classes, largest, batching = [-1, *shape], [-1, *classes], 0, ""
        batches += (
            "\n# This backend joins no requests without filling batches up, so clients send batches of their own."
        )
    return _CONFIG.format(
        batches=batches,
        name=json.dumps(name),
        backend='platform: "tensorrt_plan"' if backend == "tensorrt" else f'backend: "{backend}"',
        largest=largest,
        kind_of_input="TYPE_INT64" if contract.get("task") == "text" else "TYPE_FP32",
        shape=", ".join(map(str, shape)),
        classes=", ".join(map(str, classes)),
        kind="KIND_CPU" if result.conditions.device == "cpu" else "KIND_GPU gpus: [ 0 ]",
        batching=batching,
        parameters=_parameters(backend, recipe, result),
    )


def _batches(recipe: Recipe, result: RunResult) -> tuple[int, tuple[int, ...], str]:
    """The largest batch, the preferred ones, and one sentence on why these."""
    most = largest_batch(recipe)
    if compiles_each_batch(recipe, result):
        return 1, (), "It is compiled anew for every batch size, so that it is given one image at a time."
    if result.sweep is None:
        largest = min(most, max(UNMEASURED_BATCH, result.latency.batch_size))
        return largest, (largest,), f"Only batches of {result.latency.batch_size} were measured."
    points = [point for point in result.sweep.points if point.batch_size <= most]
    best = max(points, key=lambda point: point.throughput_per_s)
    preferred = [each.batch_size for each in points if each.throughput_per_s >= NEARLY_BEST * best.throughput_per_s]
    sentence = f"Of the batch sizes measured, {best.batch_size} had the highest throughput: {best.throughput_per_s:.0f}"
    return points[-1].batch_size, tuple(preferred), f"{sentence} images/s."


def _parameters(backend: Backend, recipe: Recipe, result: RunResult) -> str:
    """How the backend opens the artifact: as it was opened when it was measured, so far as the backend lets it."""
    threads = str(result.conditions.threads)
    if backend == "onnxruntime":
        return _onnxruntime_optimisation(recipe, result.precision) + _pairs({"intra_op_thread_count": threads})
    return _openvino_parameters(recipe, result, threads) if backend == "openvino" else ""


def _onnxruntime_optimisation(recipe: Recipe, precision: str) -> str:
    assert isinstance(recipe.engine, OnnxRuntimeSettings)
    level = {"basic": -1, "extended": 1, "none": 2}.get(recipe.engine.rewriting)
    chosen = "" if level is None else f"graph {{ level: {level} }} "
    if recipe.engine.provider == "tensorrt":
        # Left alone it builds an engine in FP32: https://github.com/triton-inference-server/onnxruntime_backend
        given = f'parameters {{ key: "precision_mode" value: "{precision.upper()}" }} '
        mode = given if precision in ("fp16", "int8") else ""
        chosen += 'execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" ' + mode + "} ] } "
    return f"optimization {{ {chosen}}}\n" if chosen else ""


def _openvino_parameters(recipe: Recipe, result: RunResult, threads: str) -> str:
    assert isinstance(recipe.engine, OpenVinoSettings)
    chosen = {"PERFORMANCE_HINT": recipe.engine.hint.upper(), "INFERENCE_NUM_THREADS": threads}
    if recipe.engine.hint == "throughput" and recipe.engine.streams:
        chosen["NUM_STREAMS"] = str(recipe.engine.streams)
    main = result.artifact_files[0]
    file = "" if main == "model.xml" else f'default_model_filename: "{main}"\n'
    if result.precision == "bf16":
        return file + _pairs({**chosen, "HINT_BF16": "YES"})
    return (
        f"{file}# Where the CPU computes in BF16, this backend may do so too; it has no parameter against it.\n"
        + _pairs(chosen)
    )


def _pairs(parameters: Mapping[str, str]) -> str:
    return "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in parameters.items()
    )
