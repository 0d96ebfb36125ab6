"""What is offered as the preparation of images."""

from intake.items import KerasFile
from intake.preprocessing import of_keras

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
