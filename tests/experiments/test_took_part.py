"""The conditions of a run name the libraries that took part in it, and no others."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from bridges.environments import Environment
from core.devices import find_device
from experiments.recipe import Recipe
from experiments.took_part import conditions_of, libraries_of

HERE = {"torch", "numpy"}
TENSORFLOW = {"tensorflow", "tf-keras", "keras"}
LITERT_TORCH = {"litert-torch", "litert-converter"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both environments beside have everything; the studio's own has what it has, and each quantizer."""
    monkeypatch.setattr(Environment, "version", lambda self, name: f"of {self.key}")
    monkeypatch.setattr("profiling.machine.version", lambda name: f"{name} here")


@pytest.mark.parametrize(
    ("recipe", "libraries"),
    [
        ({"model": "resnet_fmnist"}, set()),
        ({"model": "resnet_fmnist", "runtime": "torch_compile", "techniques": ["int8"]}, {"torchao"}),
        (
            {"model": "resnet_fmnist", "runtime": "openvino", "techniques": ["structured_pruning", "int8"]},
            {"torch-pruning", "onnx", "onnxscript", "openvino", "nncf"},
        ),
        ({"model": "resnet_fmnist", "runtime": "litert"}, {"ai-edge-litert"} | LITERT_TORCH),
        ({"model": "keras_cnn_fmnist", "runtime": "litert"}, {"ai-edge-litert"}),
        ({"model": "keras_cnn_fmnist", "runtime": "openvino"}, {"openvino"}),
        (
            {"model": "keras_cnn_fmnist", "runtime": "litert", "techniques": ["litert_quantization"]},
            {"ai-edge-litert", "litert-quantizer"},
        ),
        (
            {"model": "keras_cnn_fmnist", "runtime": "litert", "techniques": ["keras_quantization"]},
            {"ai-edge-litert"} | TENSORFLOW,
        ),
        (
            {"model": "keras_cnn_fmnist", "runtime": "litert", "techniques": ["keras_pruning", "keras_quantization"]},
            {"ai-edge-litert", "tensorflow-model-optimization"} | TENSORFLOW,
        ),
    ],
)
def test_only_what_takes_part_is_named(recipe: dict[str, Any], libraries: set[str]) -> None:
    assert libraries_of(Recipe.model_validate(recipe)).keys() == HERE | libraries


def test_each_version_is_that_of_the_environment_where_the_library_works() -> None:
    found = libraries_of(Recipe.model_validate({"model": "keras_cnn_fmnist", "techniques": ["keras_qat"]}))
    assert (found["tensorflow-model-optimization"], found["tensorflow"]) == ("of tensorflow", "of tensorflow")
    assert found["numpy"] == "numpy here"
    assert libraries_of(Recipe(model="resnet_fmnist", runtime="litert"))["litert-torch"] == "of litert-torch"


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    recipe = Recipe(model="resnet_fmnist", runtime="onnxruntime", seed=3)
    found = conditions_of(recipe, find_device("cpu"), threads=2)
    assert found.libraries == {name: version(name) for name in ("torch", "numpy", "onnx", "onnxscript", "onnxruntime")}
    assert (found.threads, found.seed) == (2, 3)
