"""What is offered as the preparation of images."""

import json
from pathlib import Path

import numpy as np
import pytest

from bridges.keras.form import described
from core.progress import result_of
from intake import litert_files
from intake.items import KERAS_FILE, TFLITE_FILE, KerasFile, TfliteFile
from intake.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, of_keras, of_tflite, usual_ones

FILE = KerasFile(
    name="a.keras", size_bytes=1, height=32, width=32, channels=3, classes=10, layers=3, parameter_count=1,
    api="tf_keras", saved_as="Keras 3",
)  # fmt: skip


def test_what_the_first_layers_of_a_keras_model_did_is_done_to_its_input() -> None:
    found = of_keras(FILE.model_copy(update={"mean": (103.5, 116.25, 123.0), "std": (1.0, 2.0, 3.0)}))
    assert (found.mean, found.std) == ((103.5, 116.25, 123.0), (1.0, 2.0, 3.0))
    assert (found.colour, found.height, found.width) == ("RGB", 32, 32)


def test_a_keras_model_that_says_nothing_gets_what_is_usual_and_the_words_that_it_is() -> None:
    found = of_keras(FILE)
    assert (found.mean, found.std) == ((127.5,) * 3, (127.5,) * 3)
    assert "does not say" in found.source


def test_pixels_pass_where_a_layer_scales_them_that_could_not_be_taken_off() -> None:
    found = of_keras(FILE.model_copy(update={"normalises": True}))
    assert (found.mean, found.std) == ((0.0,) * 3, (1.0,) * 3)


def test_red_never_gets_the_mean_of_blue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network in BGR whose own layers took off the mean of each channel, as ResNet50 and VGG of Keras expect it."""
    mean, std = (103.939, 116.77899932861328, 123.68), (1.0, 2.0, 4.0)
    kernel = np.random.default_rng(0).normal(size=(1, 1, 3, 2)).astype(np.float32)
    layers = [
        {"class_name": "InputLayer", "config": {"name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "first"}, "inbound_nodes": [[["input", 0, 0, {}]]]},
    ]
    told = {"api": "tf_keras", "class_name": "Functional", "config": {"layers": layers}}
    (tmp_path / "item").mkdir()
    with (tmp_path / "item" / KERAS_FILE).open("wb") as file:
        np.savez(file, config=np.frombuffer(json.dumps(told).encode(), np.uint8), w0=kernel)
    (tmp_path / "item" / TFLITE_FILE).touch()
    monkeypatch.setattr(litert_files, "ask", lambda *_given: iter(()))

    item = FILE.model_copy(update={"mean": mean, "std": std})
    rounded = tuple(float(f"{value:g}") for value in mean)  # as the page shows and returns it
    wanted = of_keras(item).model_copy(update={"colour": "BGR", "mean": rounded})
    found = result_of(litert_files.adopt_file(item, tmp_path / "item", wanted, tmp_path)).input
    assert (found.mean, found.std) == (rounded[::-1], std[::-1])
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 4), np.uint8)
    turned = described((tmp_path / KERAS_FILE).read_bytes()).weights[0][0, 0]
    now = np.einsum("nchw,ck->nkhw", found.contract(()).prepare(pixels), turned)
    bgr = (pixels[:, ::-1].transpose(0, 2, 3, 1) - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(now.transpose(0, 2, 3, 1), bgr @ kernel[0, 0], rtol=1e-3, atol=1e-3)

    by_hand = wanted.model_copy(update={"mean": (123.0, 117.0, 104.0)})
    assert result_of(litert_files.adopt_file(item, tmp_path / "item", by_hand, tmp_path)).input.mean == by_hand.mean


def tflite(**facts: object) -> TfliteFile:
    return TfliteFile.model_validate(
        {"name": "a.tflite", "size_bytes": 1, "height": 8, "width": 8, "channels": 1, "layout": "NHWC", "classes": 3,
         "operators": {}, "parameter_count": 1, "macs": 1, **facts}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "becomes"),
    [
        # By hand: (pixel - mean) / std / scale + zero point for the pixels 0, 127 and 255.
        ({"dtype": "uint8", "scale": 1 / 128, "zero_point": 127, "mean": (127,), "std": (128,)}, (0, 127, 255)),
        ({"dtype": "int8", "scale": 1 / 255, "zero_point": -128, "mean": (0,), "std": (255,)}, (-128, -1, 127)),
        ({"dtype": "int8", "scale": 0.02, "zero_point": -10, "mean": (100,), "std": (64,)},
         (-88.125, 11.09375, 111.09375)),
        # Metadata that do not fit the steps: pixels pass as they are.
        ({"dtype": "uint8", "scale": 1 / 255, "zero_point": 0, "mean": (0,), "std": (1,)}, (0, 127, 255)),
        ({"dtype": "uint8", "scale": 1.0, "zero_point": 0, "mean": (127.5,), "std": (127.5,)}, (0, 127, 255)),
        ({"dtype": "int8", "scale": 0.5, "zero_point": 3}, (-128, -1, 127)),
    ],
)  # fmt: skip
def test_which_number_of_8_bits_a_pixel_becomes(facts: dict[str, object], becomes: tuple[float, ...]) -> None:
    file = tflite(**facts)
    wanted = of_tflite(file)
    x = wanted.contract(()).prepare(np.array([0, 127, 255], np.uint8).reshape(3, 1, 1, 1)).reshape(3)
    assert np.allclose(x / file.scale + file.zero_point, becomes, atol=1e-3)


def test_metadata_that_do_not_fit_the_steps_are_named() -> None:
    facts = {"dtype": "uint8", "scale": 1 / 255, "mean": (0,), "std": (1,)}
    assert "its metadata say otherwise" in of_tflite(tflite(**facts)).source
    assert "does not say" in of_tflite(tflite(dtype="float32")).source


def test_metadata_of_another_number_of_channels_or_classes_are_no_facts() -> None:
    for facts in ({"labels": ("a",)}, {"mean": (1, 2, 3), "std": (1,)}, {"mean": (1,), "std": (0,)}):
        with pytest.raises(ValueError, match="validation error"):
            tflite(dtype="float32", **facts)


def test_the_usual_preparations_stand_beside_the_chosen_one_and_none_is_there_twice() -> None:
    chosen = Preprocessing(mean=(0.0,) * 3, std=(255.0,) * 3, crop_share=0.875)
    found = usual_ones(chosen, turns=True)
    assert next(iter(found.items())) == ("pixels / 255", chosen)
    scales = [(each.colour, each.mean, each.std) for each in found.values()]
    assert len(set(scales)) == len(scales) == 5
    assert ("RGB", IMAGENET_MEAN, IMAGENET_STD) in scales
    assert ("BGR", IMAGENET_MEAN, (1.0,) * 3) in scales
    assert {(each.crop_share, each.height) for each in found.values()} == {(0.875, 224)}
    assert {each.colour for each in usual_ones(chosen, turns=False).values()} == {"RGB"}


def test_an_unusual_preparation_and_gray_images_have_the_usual_ones_beside_them_too() -> None:
    chosen = Preprocessing(colour="gray", mean=(72.9,), std=(90.0,))
    found = usual_ones(chosen, turns=True)
    assert list(found) == ["mean 72.9, deviation 90", "pixels as they are", "pixels / 255", "pixels / 127.5 - 1"]
    assert (found["pixels / 255"].mean, found["pixels / 255"].std) == ((0.0,), (255.0,))
    assert found["pixels / 255"].scale == "mean 0, deviation 255"
