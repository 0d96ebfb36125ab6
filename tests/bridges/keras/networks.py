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


def gray() -> Any:
    """As the first tutorial has it: images without an axis of channels."""
    keras = _older()
    return keras.Sequential([keras.layers.Flatten(input_shape=(SIDE, SIDE)), keras.layers.Dense(CLASSES)])


def rows() -> Any:
    """A row of numbers an image."""
    keras = _keras()
    return keras.Sequential([keras.layers.Input((SIDE * SIDE,)), keras.layers.Dense(CLASSES)])


def _after_preprocessing(keras: Any, kind: str) -> Any:
    """A small network behind what keras.applications do to pixels before a ResNet50 or a DenseNet."""
    layers = keras.layers
    start = keras.Input((SIDE, SIDE, 3))
    x = layers.ZeroPadding2D()(getattr(keras.applications, kind).preprocess_input(start))
    return keras.Model(start, layers.Dense(CLASSES)(layers.Flatten()(layers.Conv2D(4, 3)(x))))


def blue_first() -> Any:
    return _after_preprocessing(_keras(), "resnet50")


def older_blue_first() -> Any:
    return _after_preprocessing(_older(), "resnet50")


def older_spread() -> Any:
    return _after_preprocessing(_older(), "densenet")


def computed() -> Any:
    """Activations and sums as functions, and blue before a place where it could be taken into a convolution."""
    keras = _keras()
    layers, ops = keras.layers, keras.ops
    start = keras.Input((SIDE, SIDE, 3))
    x = 2 * (ops.cast(start, "float32") / 255.0) - 1
    y = layers.Conv2D(3, 3, padding="same")(ops.stack([x[..., place] for place in (2, 1, 0)], axis=-1))
    x = keras.activations.relu(x + y) * ops.sigmoid(ops.mean(x, (1, 2), keepdims=True))
    x = ops.concatenate([x, -ops.relu(x)], axis=-1)
    return keras.Model(start, layers.Dense(CLASSES)(ops.mean(ops.leaky_relu(x), (1, 2))))


def older_computed() -> Any:
    import tensorflow as tf

    keras = _older()
    start = keras.Input((SIDE, SIDE, 3))
    x = tf.nn.relu(keras.layers.Conv2D(3, 3, padding="same")(start[..., ::-1]) + tf.cast(start, tf.float32))
    return keras.Model(start, keras.layers.Dense(CLASSES)(tf.reduce_mean(x, axis=[1, 2])))


def leaky() -> Any:
    keras = _keras()
    layers = keras.layers
    return _head(keras, layers.Dense(4, activation=layers.LeakyReLU(negative_slope=0.1)), layers.Dense(CLASSES))


def attention() -> Any:
    """A transformer's block, as vision transformers have it."""
    keras = _keras()
    layers = keras.layers
    start = keras.Input((SIDE, SIDE, 3))
    x = layers.Reshape((4, 8))(layers.Conv2D(8, 4, strides=4)(start))
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    return keras.Model(start, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


def groups() -> Any:
    keras = _keras()
    return _head(keras, keras.layers.Reshape((SIDE, SIDE, 4)), keras.layers.GroupNormalization(2), *_end(keras))


def _end(keras: Any) -> tuple[Any, Any]:
    return keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(CLASSES)


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
        gray, rows, blue_first, older_blue_first, older_spread, computed, older_computed, leaky, attention, groups,
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
        images = x[..., : new.input_shape[-1]] if name in NETWORKS else np.zeros((1, *new.input_shape[1:]), np.float32)
        as_given = images.reshape(-1, *given.input_shape[1:])
        told[name] = {
            "api": api_of(again),
            "notes": notes,
            "layers": [type(layer).__name__ for layer in again.layers],
            "trainable": all(layer.trainable for layer in again.layers),
            "given": np.asarray(given(as_given, training=False)).tolist(),
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


def wrapped(kind: str, folder: str) -> Steps[dict[str, Any]]:
    """Task: what a network answers that is saved in the toolkit's wrappers, and without them as it is read again."""
    import tensorflow_model_optimization as tfmot

    from intake.parsing.keras_hdf5 import planned

    yield Progress(done=0, total=1, unit="networks")
    keras = _older()
    model = _head(keras, keras.layers.Dense(CLASSES, name="scores"))
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, 0)
    start = tfmot.clustering.keras.CentroidInitialization.LINEAR
    wraps = {
        "pruned": lambda: tfmot.sparsity.keras.prune_low_magnitude(model, schedule),
        "clustered": lambda: tfmot.clustering.keras.cluster_weights(model, 4, start),
        "rounded": lambda: tfmot.quantization.keras.quantize_model(model),
    }
    x = np.load(Path(folder) / "x.npy")
    inside = wraps[kind]()
    if kind == "pruned":
        _mask_half(inside.layers[-1])
    inside.save(str(Path(folder) / f"{kind}.h5"), include_optimizer=False)
    plan = planned(Path(folder) / f"{kind}.h5")
    again = plan.build()
    return {
        "notes": plan.notes,
        "layers": [type(layer).__name__ for layer in again.layers],
        "inside": np.asarray(inside(x, training=False)).tolist(),
        "given": np.asarray(model(x, training=False)).tolist(),
        "again": np.asarray(again(x, training=False)).tolist(),
        "kernel": np.asarray(again.layers[-1].kernel).tolist(),
    }


def _mask_half(wrapper: Any) -> None:
    """Let every other weight of a layer be pruned, and not yet be zero, as after a step of training."""
    mask = next(weight for weight in wrapper.weights if weight.name.endswith("mask:0"))
    mask.assign(np.arange(mask.shape.num_elements()).reshape(mask.shape) % 2)


def saved(folder: str) -> Steps[dict[str, Any]]:
    """Task: a network of Keras 3 as TensorFlow saves it, converted to `saved.tflite`; what it answers to x.npy."""
    import tensorflow as tf

    from intake.parsing.keras_saved import converted

    yield Progress(done=0, total=1, unit="networks")
    model, x = rescaled(), np.load(Path(folder) / "x.npy")
    tf.saved_model.save(model, str(Path(folder) / "saved"))
    (Path(folder) / "saved.tflite").write_bytes(converted(Path(folder) / "saved"))
    return {"given": np.asarray(model(x)).tolist()}
