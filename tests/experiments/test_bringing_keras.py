"""Keras models and `.tflite` files from the file that somebody has to a model of theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bridges.environments import TENSORFLOW
from bridges.keras.form import described
from core.bundle import KerasModel, TfliteModel
from core.errors import BadInput, Refused
from core.progress import result_of
from core.tflite_reference import reference
from experiments import models
from experiments.adding import add
from experiments.bringing import keep_checked
from experiments.declared import Declared, bring
from experiments.jobs import AddOrder, DataChoice
from intake import sandbox, shelf
from intake.items import KERAS_FILE, TFLITE_FILE, Item, KerasFile, TfliteFile
from intake.library import own_model
from intake.litert_files import described_file
from intake.sources import KerasSource
from tests.hostile.keras_models import FOLDER
from tests.intake.parsing.tflite_metadata_files import metadata, with_metadata

needs_sandbox = pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine")
needs_tensorflow = pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing))
pytestmark = needs_sandbox
INPUT = {"mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    return tmp_path


def kept(name: str, folder: Path) -> tuple[str, Item]:
    """The item that one of the files became."""
    (folder / "draft").mkdir()
    key = result_of(keep_checked("", "model", Path(shutil.copy(FOLDER / name, folder / name)), folder / "draft"))
    return key, shelf.item("", key)


def images(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / "x.npz", x=rng.integers(0, 256, (60, 8, 8, 3), np.uint8), y=np.arange(60) % 3)
    return folder / "x.npz"


def image_item(folder: Path) -> str:
    """The item that the images became."""
    (folder / "images").mkdir()
    return result_of(keep_checked("", "data", images(folder), folder / "images"))


@needs_tensorflow
def test_a_keras_model_is_read_converted_tried_and_added_turned_round_for_bgr(data: Path) -> None:
    key, item = kept("plain.keras", data)
    assert isinstance(item, KerasFile)
    assert (item.height, item.width, item.channels, item.classes, item.api) == (8, 8, 3, 3, "tf_keras")
    assert item.saved_as.startswith("Keras 3")
    assert item.parameter_count == 3 * 3 * 3 * 4 + 4 + 4 * 4 + 4 * 3 + 3
    assert item.macs == 6 * 6 * 4 * 27 + 4 * 3
    assert {key for key, reason in item.eligibility.items() if not reason} >= {"keras_pruning", "keras_quantization"}
    folder = shelf.item_folder("", key)
    assert {path.name for path in folder.iterdir()} == {KERAS_FILE, TFLITE_FILE, "item.json"}
    assert described((folder / KERAS_FILE).read_bytes()).class_name == "Functional"

    rgb = reference((folder / TFLITE_FILE).read_bytes())
    wanted = described_file(item).input.model_copy(update={"colour": "BGR"})
    order = AddOrder(
        title="Turned", source=KerasSource(item=key), input=wanted, data=DataChoice(item=image_item(data), seed=0)
    )
    (data / "added").mkdir()
    own = result_of(add("", order, data / "added"))
    assert own.startswith("keras-turned-")
    network = models.load(own).network
    assert isinstance(network, KerasModel)
    x = np.random.default_rng(1).random((4, 3, 8, 8), np.float32)
    assert np.allclose(reference(network.tflite)(x), rgb(x[:, ::-1]), atol=1e-5)
    assert not np.allclose(reference(network.tflite)(x), rgb(x), atol=1e-3)


@needs_tensorflow
def test_a_saved_model_of_no_layers_becomes_a_tflite_file_that_answers_like_it(data: Path) -> None:
    key, item = kept("plain.zip", data)
    assert isinstance(item, TfliteFile)
    assert "does not say of which layers" in item.notes[0]
    x = np.random.default_rng(1).random((2, 3, 8, 8), np.float32)
    weight = np.linspace(-1, 1, 576).reshape(192, 3)
    found = reference((shelf.item_folder("", key) / TFLITE_FILE).read_bytes())(x)
    assert np.allclose(found, x.transpose(0, 2, 3, 1).reshape(2, -1) @ weight, atol=1e-4)


@needs_tensorflow
def test_a_lambda_gets_its_sentence_and_leaves_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_MARKER", str(data / "marker"))
    with pytest.raises(Refused, match="Lambda layer, which carries code") as caught:
        kept("lambda.h5", data)
    assert "tf2onnx" in caught.value.snippet
    assert "load_model" not in caught.value.snippet  # which would not open it either
    assert not (data / "marker").exists()
    assert {path.name for path in data.iterdir()} <= {"draft", "lambda.h5", "data"}


def test_without_tensorflow_the_way_to_get_it_is_said(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TENSORFLOW), "is_installed", property(lambda _self: False))
    for name in ("plain.keras", "older.h5", "saved.zip"):
        (data / name).mkdir()
        with pytest.raises(Refused, match=r"only TensorFlow reads.*studio.py install tensorflow"):
            kept(name, data / name)


def test_a_tflite_file_becomes_a_model_and_what_it_cannot_do_is_known(data: Path) -> None:
    images(data)
    key = result_of(bring(Declared(tflite=FOLDER / "plain.tflite", data="x.npz", input=INPUT, calibrate=0.4), data))
    model = own_model(key)
    assert model
    assert (model.form, model.precision, model.refusals) == ("tflite", "fp32", {})
    assert key.startswith("tflite-plain-")
    bundle = models.load(key)
    assert isinstance(bundle.network, TfliteModel)
    test = bundle.data.test
    right = test.is_correct(reference(bundle.network.content)(bundle.contract.prepare(test.pixels)).argmax(1))
    assert (model.correct, model.judged) == (int(right.sum()), len(test))
    assert models.baseline_runtime(key) == "litert"


def test_a_preparation_that_is_clearly_better_is_named_when_a_model_is_added(data: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.integers(0, 256, (120, 1, 1, 3)) + rng.normal(0, 40, (120, 8, 8, 3)), 0, 255).astype(np.uint8)
    trained_on = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    labels = reference((FOLDER / "plain.tflite").read_bytes())(trained_on).argmax(1)
    np.savez(data / "x.npz", x=pixels, y=labels)
    declared = Declared(tflite=FOLDER / "plain.tflite", data="x.npz", match="order", input=INPUT, calibrate=0.4)
    model = own_model(result_of(bring(declared, data)))
    assert model
    assert model.advised
    assert (model.advised.mean, model.advised.std) == ((127.5,) * 3, (127.5,) * 3)
    assert "with pixels / 127.5 - 1 (mean 127.5, deviation 127.5) 100.0 % of" in model.warnings[0]
    assert "pixels / 255" in model.notes[-1]
    assert "BGR" not in model.notes[-1]  # a .tflite file is not turned round
    given = {"mean": model.advised.mean, "std": model.advised.std}
    again = own_model(result_of(bring(declared.model_copy(update={"input": given}), data)))
    assert again
    assert (again.correct, again.advised, again.warnings) == (again.judged, None, ())


def test_what_a_tflite_file_says_of_itself_is_the_models(data: Path) -> None:
    images(data)
    said = metadata(mean=[10], std=[100], labels="labels.txt")
    content = with_metadata((FOLDER / "plain.tflite").read_bytes(), said, {"labels.txt": "background\nant\nbee"})
    (data / "own.tflite").write_bytes(content)
    key = result_of(bring(Declared(tflite=Path("own.tflite"), data="x.npz", match="order", calibrate=0.4), data))
    contract = models.load(key).contract
    assert (contract.labels, contract.mean, contract.std) == (("background", "ant", "bee"), (10.0,) * 3, (100.0,) * 3)  # type: ignore[union-attr]


def test_a_file_that_takes_one_image_at_a_time_is_served_in_both_engines(data: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 10, 3), np.uint8)
    np.savez(data / "x.npz", x=pixels, y=np.arange(20) % 5)
    file = Path(__file__).parents[1] / "runtimes" / "data" / "flattened.tflite"
    model = own_model(result_of(bring(Declared(tflite=file, data="x.npz", calibrate=0.4), data)))
    assert model
    assert model.refusals == {}


def test_a_tflite_file_is_not_turned_round_nor_given_another_size(data: Path) -> None:
    images(data)
    for changes, words in (({"colour": "BGR"}, "turned round"), ({"height": 9}, "9 pixels in height; expected 8")):
        declared = Declared(tflite=FOLDER / "uint8.tflite", data="x.npz", input=INPUT | changes, calibrate=0.4)
        with pytest.raises(BadInput, match=words):
            result_of(bring(declared, data))


def test_a_file_that_is_quantized_already_is_not_offered_to_the_quantizer(data: Path) -> None:
    images(data)
    model = own_model(result_of(bring(Declared(tflite=FOLDER / "int8.tflite", data="x.npz", calibrate=0.4), data)))
    assert model
    assert model.precision == "int8"
    assert "quantized already" in model.refusals["litert_quantization"]


def test_a_quantized_file_says_how_its_pixels_are_prepared(data: Path) -> None:
    _, item = kept("uint8.tflite", data)
    assert isinstance(item, TfliteFile)
    wanted = described_file(item).input
    assert "scale of its input" in wanted.source
    pixels = np.arange(256)
    steps = (pixels - wanted.mean[0]) / wanted.std[0] / item.scale + item.zero_point
    assert np.allclose(steps, pixels, atol=1e-3)


def test_weights_alone_are_no_network(data: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3, np.float32)}, data / "w.safetensors")
    with pytest.raises(BadInput, match="no whole network"):
        result_of(bring(Declared(keras=data / "w.safetensors", data="x.npz"), data))
