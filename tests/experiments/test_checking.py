from __future__ import annotations

from unittest import mock

import pytest

from core.errors import CannotCompose, Unavailable
from experiments.checking import check, why_refused
from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import from_yaml
from runtimes import RUNTIMES
from tests.experiments.recipes import CHAIN


def test_check_walks_the_recipe() -> None:
    situation = check(from_yaml(CHAIN))
    assert (situation.form, situation.precision) == ("onnx", "int8")
    assert situation.applied == ("structured_pruning", "int8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtime": "pytorch"}, "ONNX Runtime"),
        ({"techniques": ["int8", "structured_pruning"]}, "prun"),
        ({"techniques": ["int8", "int8"]}, "twice"),
        ({"model": "efficientnet_lite0", "techniques": ["distillation"]}, "training images"),
    ],
)
def test_what_does_not_compose_is_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    recipe = Recipe.model_validate(from_yaml(CHAIN).model_dump(mode="json") | changes)
    with pytest.raises(CannotCompose, match=words):
        check(recipe)


@pytest.mark.parametrize("runtime", ["tensorrt", "aotinductor"])
def test_what_a_runtime_never_takes_is_said_before_what_is_missing_here(runtime: str) -> None:
    missing = mock.patch.object(type(RUNTIMES[runtime]), "why_unavailable", return_value="It is not installed")
    with missing, pytest.raises(CannotCompose, match="a model of Keras"):
        check(Recipe(model="keras_cnn_fmnist", runtime=runtime))
    with missing, pytest.raises(Unavailable, match="not installed"):
        check(Recipe(model="resnet_fmnist", runtime=runtime))


def test_an_absent_device_is_named() -> None:
    with pytest.raises(Unavailable, match="cuda:7"):
        check(from_yaml(CHAIN + "device: cuda:7"))


def test_a_model_that_is_not_bundled_any_more_is_refused_with_a_sentence() -> None:
    assert "gone_model" in why_refused(Recipe(model="gone_model"))


def test_a_cuda_graph_is_measured_apart_and_refused_without_a_gpu() -> None:
    graph = Recipe(model="resnet_fmnist", measurement=MeasurementSettings(cuda_graph=True))
    assert graph.settings == "cpu|1|0|graph"
    assert "CUDA graph" in why_refused(graph, CannotCompose)
