"""What becomes of networks of Keras in TensorFlow's process, compared with numpy and with LiteRT here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from core.data import Floats
from core.errors import NothingDone, RunFailed
from core.progress import result_of
from tests.bridges.keras.networks import CLASSES, SIDE

pytestmark = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
TASKS = "tests.bridges.keras.networks"
LOGITS = [
    "transfer", "shared", "dense", "rescaled", "blue_first", "older_blue_first", "older_spread",
    "computed", "older_computed", "leaky", "attention",
    "lonely_prelu",
]  # fmt: skip
GRAY = {"gray": "without an axis of channels", "rows": "rows of 64 numbers"}
PROBABILITIES = ["softmax", "softmax_layer", "older_softmax"]
ONE_SCORE = ["one_probability", "one_probability_layer", "one_score"]
REFUSED = {
    "two_inputs": "2 inputs and 1 output",
    "features": "answers with",
    "channels_first": "channels first",
    "described_by_code": "class Own",
}


def asked(task: str, **arguments: Any) -> dict[str, Any]:
    return result_of(ask(TENSORFLOW, f"{TASKS}:{task}", arguments))


def images() -> Floats:
    return np.random.default_rng(1).normal(size=(3, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    np.save(folder / "x.npy", images())
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What became of every network."""
    names = [*LOGITS, *PROBABILITIES, *ONE_SCORE, *GRAY, "groups", "MobileNetV3Small", *REFUSED]
    return asked("house", names=names, folder=str(folder))


def softmax(scores: Floats) -> Floats:
    shares = np.exp(scores)
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)


def served(file: Path, x: Floats) -> Floats:
    """What LiteRT in this environment answers, all images at once."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(given["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(answer["index"]))


@pytest.mark.parametrize("name", LOGITS)
def test_logits_stay_what_they_were(name: str, told: dict[str, Any], folder: Path) -> None:
    found = told[name]
    np.testing.assert_allclose(found["again"], found["given"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(served(folder / f"{name}.tflite", images()), found["given"], rtol=1e-4, atol=1e-5)
    assert found["api"] == "tf_keras"
    assert found["trainable"]


@pytest.mark.parametrize(("name", "said"), GRAY.items())
def test_numbers_without_channels_are_gray_images(name: str, said: str, told: dict[str, Any], folder: Path) -> None:
    found = told[name]
    np.testing.assert_allclose(found["again"], found["given"], rtol=1e-4, atol=1e-5)
    given = served(folder / f"{name}.tflite", images()[..., :1])
    np.testing.assert_allclose(given, found["given"], rtol=1e-4, atol=1e-5)
    assert said in " ".join(found["notes"])


def test_arithmetic_becomes_layers_that_the_toolkit_knows(told: dict[str, Any]) -> None:
    assert "TFOpLambda" not in {*told["computed"]["layers"], *told["older_computed"]["layers"]}
    assert told["older_spread"]["layers"] == [
        "InputLayer", "Rescaling", "Rescaling", "Rescaling", "ZeroPadding2D", "Conv2D", "Flatten", "Dense",
    ]  # fmt: skip


def test_what_keras_2_cannot_bring_to_litert_stays_of_keras_3(told: dict[str, Any]) -> None:
    found = told["groups"]
    assert found["api"] == "keras"
    assert "GroupNormalization layers that LiteRT can take" in " ".join(found["notes"])
    np.testing.assert_allclose(found["again"], found["given"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_a_softmax_at_the_end_is_taken_off(name: str, told: dict[str, Any], folder: Path) -> None:
    found = told[name]
    assert "softmax at its end was taken off" in " ".join(found["notes"])
    np.testing.assert_allclose(softmax(np.float32(found["again"])), found["given"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(served(folder / f"{name}.tflite", images()), found["again"], rtol=1e-4, atol=1e-5)
    assert np.std(found["again"]) > 0


@pytest.mark.parametrize("name", ONE_SCORE)
def test_one_score_becomes_two_classes(name: str, told: dict[str, Any]) -> None:
    found = told[name]
    scores = np.float32(found["again"])
    is_logit = name == "one_score"
    assert scores.shape == (3, 2)
    assert (scores[:, 0] == 0).all()
    assert np.std(scores[:, 1]) > 0
    second = scores[:, 1:] if is_logit else softmax(scores)[:, 1:]
    np.testing.assert_allclose(second, found["given"], rtol=1e-4, atol=1e-6)
    assert ("whose score is a logit" in " ".join(found["notes"])) == is_logit


def test_models_inside_are_opened_and_what_only_trains_is_left_out(told: dict[str, Any]) -> None:
    wanted = ["InputLayer", "Rescaling", "Rescaling", "Conv2D", "BatchNormalization", "ReLU"]
    assert told["transfer"]["layers"] == [*wanted, "GlobalAveragePooling2D", "Dense"]


def test_the_file_answers_as_the_formula_does(folder: Path, told: dict[str, Any]) -> None:
    assert told["dense"]["layers"] == ["InputLayer", "Flatten", "Dense"]
    with np.load(folder / "dense.npz") as file:
        kernel, bias = file["w0"], file["w1"]
    x = images()
    np.testing.assert_allclose(
        served(folder / "dense.tflite", x), x.reshape(3, -1) @ kernel + bias, rtol=1e-4, atol=1e-5
    )
    assert kernel.shape == (SIDE * SIDE * 3, CLASSES)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_does_not_classify_images_is_refused(name: str, reason: str, told: dict[str, Any]) -> None:
    assert reason in told[name]["refused"]


def test_what_only_keras_3_has_stays_of_keras_3_with_the_reason(told: dict[str, Any]) -> None:
    found = told["MobileNetV3Small"]
    assert found["api"] == "keras"
    assert "lacks the activation hard_silu" in " ".join(found["notes"])
    assert np.shape(found["again"]) == (1, 10)


def test_scaling_at_the_beginning_becomes_mean_and_std(folder: Path) -> None:
    found = asked("unscaled", name="rescaled", folder=str(folder))
    np.testing.assert_allclose(found["mean"], 255 * np.array([0.1, 0.2, 0.3]), rtol=1e-5)
    np.testing.assert_allclose(found["std"], 255 * np.array([0.2, 0.3, 0.4]), rtol=1e-5)
    np.testing.assert_allclose(found["new"], found["whole"], rtol=1e-4, atol=1e-5)
    assert found["layers"] == ["InputLayer", "Conv2D", "Flatten", "Dense"]


@pytest.mark.parametrize("name", ["blue_first", "older_blue_first"])
def test_preprocessing_that_makes_bgr_is_taken_into_the_first_convolution(name: str, folder: Path) -> None:
    found = asked("unscaled", name=name, folder=str(folder))
    np.testing.assert_allclose(found["mean"], [123.68, 116.779, 103.939], rtol=1e-5)
    assert found["std"] == [1, 1, 1]
    np.testing.assert_allclose(found["new"], found["whole"], rtol=1e-4, atol=1e-3)
    assert found["layers"] == ["InputLayer", "ZeroPadding2D", "Conv2D", "Flatten", "Dense"]


def test_a_network_without_scaling_stays_as_it_is(folder: Path) -> None:
    found = asked("unscaled", name="softmax", folder=str(folder))
    assert (found["mean"], found["std"]) == ([0, 0, 0], [1, 1, 1])
    assert found["new"] == found["whole"]


def test_a_file_that_answers_otherwise_is_no_conversion() -> None:
    with pytest.raises(RunFailed, match="answers otherwise than in Keras"):
        asked("false_conversion")


def test_quantizing_nothing_is_told() -> None:
    with pytest.raises(NothingDone, match=r"every weight .* in float"):
        asked("too_small", scheme="dynamic")


def test_every_technique_works_on_a_plain_network(folder: Path, told: dict[str, Any]) -> None:
    assert told["softmax"]["api"] == "tf_keras"
    steps = ask(TENSORFLOW, "bridges.keras.eligibility:table", {"model": str(folder / "softmax.npz")})
    techniques = ("fine_tuning", "pruning", "clustering", "qat", "quantization")
    assert result_of(steps) == {"eligibility": {f"keras_{name}": "" for name in techniques}}


def test_a_layer_that_cannot_be_rounded_is_the_reason(folder: Path, told: dict[str, Any]) -> None:
    assert "PReLU" in told["lonely_prelu"]["layers"]
    found = asked("tried", name="lonely_prelu", keys=["keras_pruning", "keras_qat"], folder=str(folder))
    assert found["keras_pruning"] == ""
    assert "`alone` (PReLU)" in found["keras_qat"]
    assert "no rule for PReLU" in found["keras_qat"]


def test_mobilenet_v3_is_refused_for_training_and_offered_quantization_afterwards(
    folder: Path, told: dict[str, Any]
) -> None:
    assert told["MobileNetV3Small"]["api"] == "keras"
    keys = ["keras_qat", "keras_pruning", "keras_quantization"]
    found = asked("tried", name="MobileNetV3Small", keys=keys, folder=str(folder))
    assert found["keras_quantization"] == ""
    assert "lacks the activation hard_silu" in found["keras_qat"]
    assert found["keras_pruning"] == found["keras_qat"]


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_every_technique_works_on_networks_of_keras_applications(name: str, folder: Path) -> None:
    assert asked("house", names=[name], folder=str(folder))[name]["api"] == "tf_keras"
    assert set(asked("tried", name=name, keys=[], folder=str(folder)).values()) == {""}
