"""Networks of both Keras, by name, and tasks for TensorFlow's process that tell what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import StudioError
from core.progress import Progress, Steps

SIDE, CLASSES = 8, 4


def _keras() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras


def _older() -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    return tf_keras


def _head(keras: Any, *more: Any) -> Any:
    layers = keras.layers
    first = [layers.Input((SIDE, SIDE, 3)), layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()]
    return keras.Sequential([*first, layers.ReLU(), layers.Flatten(), *more])


def softmax() -> Any:
    keras = _keras()
    return _head(keras, keras.layers.Dropout(0.5), keras.layers.Dense(CLASSES, activation="softmax"))


def softmax_layer() -> Any:
    keras = _keras()
    return _head(keras, keras.layers.Dense(CLASSES), keras.layers.Softmax())


def one_probability() -> Any:
    keras = _keras()
    return _head(keras, keras.layers.Dense(1, activation="sigmoid"))


def one_probability_layer() -> Any:
    keras = _keras()
    return _head(keras, keras.layers.Dense(1), keras.layers.Activation("sigmoid"))


def one_score() -> Any:
    keras = _keras()
    return _head(keras, keras.layers.Dense(1))


def older_softmax() -> Any:
    keras = _older()
    return _head(keras, keras.layers.Dense(CLASSES, activation="softmax"))


def transfer() -> Any:
    """As the tutorials have it: augmentation, arithmetic, a frozen network inside."""
    keras = _keras()
    layers = keras.layers
    base = keras.Sequential(
        [layers.Input((SIDE, SIDE, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(6.0)]
    )
    base.trainable = False
    start = keras.Input((SIDE, SIDE, 3))
    x = base(layers.RandomFlip()(start) / 127.5 - 1.0, training=False)
    return keras.Model(start, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def shared() -> Any:
    """One layer used twice, and a shortcut."""
    keras = _keras()
    layers = keras.layers
    start = keras.Input((SIDE, SIDE, 3))
    convolution = layers.Conv2D(3, 3, padding="same", activation="silu", kernel_regularizer="l2")
    x = layers.Add()([start, convolution(convolution(start))])
    return keras.Model(start, layers.Dense(CLASSES)(layers.Flatten()(x)))


def dense() -> Any:
    keras = _older()
    return keras.Sequential(
        [keras.layers.Input((SIDE, SIDE, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES, name="scores")]
    )


def rescaled() -> Any:
    keras = _keras()
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Rescaling(1 / 255),
            layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.04, 0.09, 0.16]),
            layers.Conv2D(4, 3, padding="same"),
            layers.Flatten(),
            layers.Dense(CLASSES),
        ]
    )


def lonely_prelu() -> Any:
    keras = _older()
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(4, 3),
            layers.PReLU(name="alone"),
            layers.Flatten(),
            layers.Dense(CLASSES),
        ]
    )


def two_inputs() -> Any:
    keras = _keras()
    left, right = keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE, SIDE, 3))
    return keras.Model([left, right], keras.layers.Dense(2)(keras.layers.Flatten()(left + right)))


def features() -> Any:
    keras = _keras()
    return keras.Sequential([keras.layers.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(4, 3)])


def channels_first() -> Any:
    keras = _older()
    layers = keras.layers
    pool = layers.AveragePooling2D(data_format="channels_first")
    return keras.Sequential([layers.Input((SIDE, SIDE, 3)), pool, layers.Flatten(), layers.Dense(2)])


def described_by_code() -> Any:
    keras = _keras()

    class Own(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.mean(x, (1, 2))

    model = Own()
    model(np.zeros((1, SIDE, SIDE, 3), np.float32))
    return model


def application(name: str) -> Callable[[], Any]:
    """A network of keras.applications with random weights, for small images."""

    def build() -> Any:
        return getattr(_keras().applications, name)(input_shape=(32, 32, 3), weights=None, classes=10)

    return build


NETWORKS: dict[str, Callable[[], Any]] = {
    each.__name__: each
    for each in (
        softmax, softmax_layer, one_probability, one_probability_layer, one_score, older_softmax, transfer, shared,
        dense, rescaled, lonely_prelu, two_inputs, features, channels_first, described_by_code,
    )
}  # fmt: skip


def house(names: list[str], folder: str) -> Steps[dict[str, Any]]:
    """Task: each network in the studio's form and its `.tflite`, written; what it and the given one answer to x.npy."""
    from bridges.keras.converting import float_tflite
    from bridges.keras.form import api_of, read, write
    from bridges.keras.reading import house_form

    told: dict[str, Any] = {}
    x = np.load(Path(folder) / "x.npy")
    for done, name in enumerate(names):
        yield Progress(done=done, total=len(names), unit="networks")
        given = NETWORKS[name]() if name in NETWORKS else application(name)()
        try:
            new, notes = house_form(given)
        except StudioError as error:
            told[name] = {"refused": str(error)}
            continue
        file = Path(folder) / f"{name}.npz"
        write(new, file)
        again = read(file)
        images = x if name in NETWORKS else np.zeros((1, *new.input_shape[1:]), np.float32)
        told[name] = {
            "api": api_of(again),
            "notes": notes,
            "layers": [type(layer).__name__ for layer in again.layers],
            "trainable": all(layer.trainable for layer in again.layers),
            "given": np.asarray(given(images, training=False)).tolist(),
            "again": np.asarray(again(images, training=False)).tolist(),
        }
        if name in NETWORKS:
            (Path(folder) / f"{name}.tflite").write_bytes(float_tflite(again))
    return told


def unscaled(name: str, folder: str) -> Steps[dict[str, Any]]:
    """Task: what a network without its scaling answers to what that makes of x.npy, and the whole one to x.npy."""
    from bridges.keras.reading import house_form
    from bridges.keras.scaling import without_scaling

    yield Progress(done=0, total=1, unit="networks")
    x = np.load(Path(folder) / "x.npy")
    whole = house_form(NETWORKS[name]())[0]
    new, mean, std = without_scaling(whole)
    scaled = ((x - np.float32(mean)) / np.float32(std)).astype(np.float32)
    return {
        "mean": mean,
        "std": std,
        "layers": [type(layer).__name__ for layer in new.layers],
        "whole": np.asarray(whole(x, training=False)).tolist(),
        "new": np.asarray(new(scaled, training=False)).tolist(),
    }


def tried(name: str, keys: list[str], folder: str) -> Steps[dict[str, Any]]:
    """Task: what the eligibility table says about those techniques of a network that `house` wrote, or about all."""
    from bridges.keras import eligibility
    from bridges.keras.form import described

    yield Progress(done=0, total=1, unit="networks")
    network = described((Path(folder) / f"{name}.npz").read_bytes())
    return {key: eligibility.reason(key, network) for key in keys or eligibility.TECHNIQUES}


def pruned(folder: str) -> Steps[dict[str, Any]]:
    """Writes `pruned.npz`: 28 pixels wide, a Conv2D, a SeparableConv2D and a Conv2DTranspose, half of each zero.

    Returns the `layers` as `counted` does.
    """
    from bridges.keras.form import write
    from bridges.keras.kernels import counted, kernel_of, kernels, variable_of

    yield Progress(done=0, total=1, unit="networks")
    keras = _older()
    layers = keras.layers
    first = [layers.Input((28, 28, 1)), layers.MaxPooling2D(4), layers.Conv2D(4, 3, name="plain", activation="relu")]
    middle = [layers.SeparableConv2D(8, 3, name="apart"), layers.Conv2DTranspose(8, 2, name="across")]
    model = keras.Sequential([*first, *middle, layers.Conv2D(10, 1, name="last"), layers.GlobalAveragePooling2D()])
    for layer in kernels(model).values():
        weight = kernel_of(layer)
        variable_of(layer).assign(np.where(np.abs(weight) < np.median(np.abs(weight)), 0, weight))
    write(model, Path(folder) / "pruned.npz")
    return {"layers": counted(model, kernels(model), "")}


def false_conversion() -> Steps[dict[str, Any]]:
    """Task: a conversion whose file answers otherwise."""
    from unittest import mock

    from bridges.keras import converting

    yield Progress(done=0, total=1, unit="networks")
    model = dense()
    content = converting.converted(converting.converter_of(model))
    model.set_weights([1.01 * weight for weight in model.get_weights()])
    with mock.patch.object(converting, "converted", return_value=content):
        return {"size_bytes": len(converting.float_tflite(model))}


def too_small(scheme: str) -> Steps[dict[str, Any]]:
    """Task: quantizing a network of so few weights that the dynamic scheme leaves all of them."""
    from bridges.keras.quantizing import quantized

    yield Progress(done=0, total=1, unit="networks")
    return {"size_bytes": len(quantized(dense(), scheme))}  # type: ignore[arg-type]
