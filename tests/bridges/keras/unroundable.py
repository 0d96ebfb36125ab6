"""A network that TensorFlow's toolkit alone cannot round, and the task that tells what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.progress import Progress, Steps

SIDE, CLASSES = 8, 4
MEAN, STD = (127.0,) * 3, (64.0,) * 3


def network() -> Any:
    """BatchNorm before a convolution, behind an activation, of vectors, of a shared result, and where it merges."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    start = layers.Input((SIDE, SIDE, 3))
    x = layers.BatchNormalization(name="of_pixels")(start)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.AveragePooling2D()(layers.BatchNormalization(name="after_relu", scale=False)(x))
    y = layers.Conv2D(8, 3, padding="same")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="merged")(y))
    shared = layers.Conv2D(8, 1)(layers.Concatenate()([x, y]))
    x = layers.Add()([shared, layers.BatchNormalization(name="of_a_shared_result", center=False)(shared)])
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(gate)])
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(0.5)(layers.BatchNormalization(name="of_vectors")(x))
    model = tf_keras.Model(start, layers.Dense(CLASSES)(x))
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([draw.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def rounded(folder: str) -> Steps[dict[str, Any]]:
    """Task: what is changed for it, what both answer to pixels.npy, and its file in INT8, written as `rounded.tflite`.

    The ranges of activations are those of the same pixels.
    """
    from bridges.keras import eligibility
    from bridges.keras.data import Images
    from bridges.keras.form import content_of, described
    from bridges.keras.qat import find_ranges, int8_tflite, with_rounding
    from bridges.keras.roundable import roundable

    yield Progress(done=0, total=1, unit="networks")
    pixels = np.load(Path(folder) / "pixels.npy")
    images = Images(pixels, np.zeros((len(pixels), 1), np.int64), MEAN, STD)
    x = images.normalised(pixels)
    given = network()
    new, alone = roundable(given)
    told = {
        "alone": alone,
        "is_done": roundable(new)[1] == (),
        "given": np.asarray(given(x, training=False)).tolist(),
        "new": np.asarray(new(x, training=False)).tolist(),
        "reason": eligibility.reason("keras_qat", described(content_of(given))),
    }
    quantized, _ = with_rounding(given, {})
    find_ranges(quantized, images)
    quantized(x, training=True)
    (Path(folder) / "rounded.tflite").write_bytes(int8_tflite(quantized, has_clusters=False))
    return told
