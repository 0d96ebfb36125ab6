"""Which libraries take part in a recipe, here and in the environments beside; its numbers depend on their versions."""

from __future__ import annotations

from collections.abc import Iterator

from bridges.environments import LITERT_TORCH, TENSORFLOW, Environment
from core.devices import Device
from experiments import models
from experiments.recipe import Recipe
from profiling.machine import Conditions, conditions, versions
from runtimes.tflite_file import TFLITE_FORMS

_ALWAYS = ("torch", "numpy")
_OF_ENGINE = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-rtx"),
    "litert": ("ai-edge-litert",),
}
_THROUGH_ONNX = frozenset({"onnxruntime", "openvino", "tensorrt"})
"""Engines that get what is no `.tflite` file as an ONNX graph."""
_QUANTIZERS = {
    "pytorch": "torchao",
    "torch_compile": "torchao",
    "aotinductor": "torchao",
    "openvino": "nncf",
    "tensorrt": "nvidia-modelopt",
}
"""The library that rounds for an engine, where the engine does not bring it itself."""
_QUANTIZING = frozenset({"int8", "qat", "weight_only", "fp8"})
_OF_TECHNIQUE = {
    "distillation": "torchvision",  # students go by its names
    "structured_pruning": "torch-pruning",
    "litert_quantization": "litert-quantizer",
}
_IN_TENSORFLOW = "keras_"
"""How the keys of techniques begin that work in TensorFlow's environment."""
_OF_TENSORFLOW = ("tensorflow", "tf-keras", "keras")
_OF_TOOLKIT = frozenset({"keras_pruning", "keras_clustering", "keras_qat"})
_OF_LITERT_TORCH = ("litert-torch", "litert-converter")


def conditions_of(recipe: Recipe, device: Device, *, threads: int) -> Conditions:
    """The conditions here and now, with the libraries that take part in the recipe."""
    return conditions(device, threads=threads, seed=recipe.seed, libraries=libraries_of(recipe))


def libraries_of(recipe: Recipe) -> dict[str, str]:
    """Name to version of the installed libraries that take part, as far as the recipe and its model tell.

    Raises `BadInput` where there is no such model.
    """
    beside = {name: found for place, name in _beside(recipe) if (found := place.version(name))}
    return versions(_here(recipe)) | beside


def _here(recipe: Recipe) -> Iterator[str]:
    """Of the studio's own environment."""
    model, keys = models.find(recipe.model), {each.key for each in recipe.techniques}
    yield from _ALWAYS
    if model.form == "torch" and model.is_own:
        yield "transformers" if model.task == "text" else "torchvision"
    if recipe.runtime in _THROUGH_ONNX and model.form not in TFLITE_FORMS:
        yield from ("onnx", "onnxscript")
    yield from _OF_ENGINE.get(recipe.runtime, ())
    if keys & _QUANTIZING and recipe.runtime in _QUANTIZERS:
        yield _QUANTIZERS[recipe.runtime]
    yield from (library for key, library in _OF_TECHNIQUE.items() if key in keys)


def _beside(recipe: Recipe) -> Iterator[tuple[Environment, str]]:
    """Of the others."""
    keys = {each.key for each in recipe.techniques}
    if any(key.startswith(_IN_TENSORFLOW) for key in keys):
        yield from ((TENSORFLOW, name) for name in _OF_TENSORFLOW)
    if keys & _OF_TOOLKIT:
        yield TENSORFLOW, "tensorflow-model-optimization"
    is_litert = recipe.runtime == "litert" or "litert_quantization" in keys
    if is_litert and models.find(recipe.model).form == "torch":
        yield from ((LITERT_TORCH, name) for name in _OF_LITERT_TORCH)
