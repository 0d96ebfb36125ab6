"""Networks in the wrappers of TensorFlow's optimisation toolkit, and what is done to configurations before that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.errors import Refused
from core.progress import result_of
from intake.parsing import keras_wrappers
from intake.parsing.keras_plans import IN_FLOAT32, config_of

needs_tensorflow = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
DENSE = {"class_name": "Dense", "config": {"name": "dense", "units": 3, "dtype": "float32"}}
ROUNDED = {"class_name": "QuantizeAwareActivation", "module": "tensorflow_model_optimization", "config": {}}


def wrapped(kind: str, layer: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "outside", "layer": layer, "batch_input_shape": [None, 4]}}


def model(*layers: dict[str, Any]) -> str:
    return json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})


@pytest.mark.parametrize("kind", keras_wrappers.WRAPPERS)
def test_a_wrapper_gives_its_place_and_its_name_to_its_layer(kind: str) -> None:
    checked = config_of(model(wrapped(kind, DENSE)), "it", unwraps=True)
    (layer,) = checked.config["config"]["layers"]
    assert layer == {
        "class_name": "Dense",
        "config": {"name": "outside", "units": 3, "dtype": "float32", "batch_input_shape": [None, 4]},
    }
    assert checked.notes == (keras_wrappers.NOTE,)


def test_activations_that_round_become_what_they_were() -> None:
    activation = ROUNDED | {"config": {"activation": ROUNDED | {"class_name": "NoOpActivation"}}}
    for given, wanted in ((activation, "linear"), (ROUNDED | {"config": {"activation": "relu"}}, "relu")):
        layer = DENSE | {"config": DENSE["config"] | {"activation": given}}  # type: ignore[operator]
        text = model(wrapped("QuantizeWrapperV2", layer))
        assert config_of(text, "it", unwraps=True).config["config"]["layers"][0]["config"]["activation"] == wanted


@pytest.mark.parametrize("inside", [None, 3, {"class_name": "Lambda", "config": {"name": "l"}}, {"class_name": "Own"}])
def test_what_is_in_a_wrapper_is_looked_at_like_any_layer(inside: Any) -> None:
    with pytest.raises(Refused, match=r"Lambda|wrappers|Own"):
        config_of(model(wrapped("PruneLowMagnitude", inside)), "it", unwraps=True)


def test_formats_that_keep_weights_otherwise_are_refused_with_the_way_out() -> None:
    with pytest.raises(Refused, match=r"PruneLowMagnitude.*\.h5 file") as refusal:
        config_of(model(wrapped("PruneLowMagnitude", DENSE)), "it")
    assert "strip_pruning" in refusal.value.snippet


def test_pruned_weights_are_zero_and_clustered_ones_are_their_centroids() -> None:
    kernel, bias, mask = np.ones((2, 3)), np.ones(3), np.array([[0, 1, 0], [1, 0, 1]])
    found = keras_wrappers.weights_of({"kernel": kernel, "bias": bias, "mask": mask, "threshold": np.ones(())})
    np.testing.assert_array_equal(found["kernel"], mask)
    np.testing.assert_array_equal(found["bias"], bias)
    clusters = {"cluster_centroids_kernel": np.array([5.0, 7.0]), "pulling_indices_kernel": mask}
    np.testing.assert_array_equal(keras_wrappers.weights_of({"kernel": kernel} | clusters)["kernel"], 5 + 2 * mask)


def test_layers_in_other_numbers_compute_in_float32_and_it_is_said() -> None:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
    for dtype in (policy, "float16", "uint8"):
        checked = config_of(model(DENSE | {"config": {"name": "dense", "dtype": dtype}}), "it")
        assert checked.config["config"]["layers"][0]["config"]["dtype"] == "float32"
        assert checked.notes == (IN_FLOAT32,)
    assert config_of(model(DENSE), "it").notes == ()


def test_a_sequential_model_of_old_is_a_list_of_layers() -> None:
    old = config_of(json.dumps({"class_name": "Sequential", "config": [DENSE]}), "it").config
    assert old["config"] == {"name": "sequential", "layers": [DENSE]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrapped")
    np.save(folder / "x.npy", np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype(np.float32))
    return folder


def asked(task: str, **arguments: Any) -> dict[str, Any]:
    return result_of(ask(TENSORFLOW, f"tests.bridges.keras.networks:{task}", arguments))


@needs_tensorflow
@pytest.mark.parametrize("kind", ["pruned", "clustered", "rounded"])
def test_a_network_that_was_saved_while_it_trained_is_read_without_its_wrappers(kind: str, folder: Path) -> None:
    found = asked("wrapped", kind=kind, folder=str(folder))
    own = [layer for layer in found["layers"] if layer not in ("InputLayer", "Activation")]
    assert own == ["Conv2D", "BatchNormalization", "ReLU", "Flatten", "Dense"]
    assert keras_wrappers.NOTE in found["notes"]
    kernel = np.asarray(found["kernel"])
    if kind == "pruned":
        assert (kernel.ravel()[::2] == 0).all()
        assert (kernel.ravel()[1::2] != 0).all()
    if kind == "clustered":
        assert len(np.unique(kernel)) == 4
        np.testing.assert_allclose(found["again"], found["inside"], rtol=1e-4, atol=1e-5)
    if kind == "rounded":
        np.testing.assert_allclose(found["again"], found["given"], rtol=1e-4, atol=1e-5)


@needs_tensorflow
def test_what_tensorflow_saves_of_a_network_of_keras_3_is_converted(folder: Path) -> None:
    from core.tflite_reference import reference

    given = asked("saved", folder=str(folder))["given"]
    x = np.load(folder / "x.npy").transpose(0, 3, 1, 2)
    np.testing.assert_allclose(reference((folder / "saved.tflite").read_bytes())(x), given, rtol=1e-4, atol=1e-5)
