"""Trains the Keras network that comes with the studio, from nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bridges.keras.data import read_images
from core.data import Floats, Labels
from core.progress import Metric, Progress, Steps

BATCH = 256
WEIGHT_DECAY = 1e-4
_WARM_UP = 0.25
"""Share of the steps in which the learning rate rises."""
_SHOWN_EVERY = 50


def build(
    folder: str, *, mean: list[float], std: list[float], epochs: int, max_lr: float, seed: int
) -> Steps[dict[str, Any]]:
    """Task: train the network on `train.npy` and `train-labels.npy` of the folder, on one thread.

    Writes `model.npz` (`bridges.keras.form`) and `model.tflite` beside them; returns its `parameter_count` and the
    TensorFlow `version`. The same seed gives the same weights on the same machine with the same versions.
    """
    import tensorflow as tf

    from bridges.keras.converting import float_tflite
    from bridges.keras.form import write

    with suppress(RuntimeError):  # this process has computed before, and keeps the threads that it began with
        tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(seed)
    model, images, here = network(), read_images(folder, "train", mean, std), Path(folder)
    random = np.random.default_rng(seed)
    batches = chain.from_iterable(images.shuffled(BATCH, random, "shift") for _ in range(epochs))
    yield from _train(model, batches, epochs * (len(images) // BATCH), max_lr)
    write(model, here / "model.npz")
    (here / "model.tflite").write_bytes(float_tflite(model))
    return {"parameter_count": int(model.count_params()), "version": tf.__version__}


def network() -> Any:
    """A fresh model of tf_keras: x[N, 28, 28, 1] to logits[N, 10] by two convolutions and two dense layers."""
    from tf_keras import Model, layers

    x = start = layers.Input((28, 28, 1), name="input")
    for number, filters in enumerate((16, 32), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="dense")(x)
    return Model(start, layers.Dense(10, name="logits")(x), name="keras_cnn")


def _train(model: Any, batches: Iterator[tuple[Floats, Labels]], total: int, max_lr: float) -> Steps[None]:
    """Train the model in place: AdamW, whose rate rises to `max_lr` and falls to zero along a cosine."""
    import tensorflow as tf
    from tf_keras import losses, optimizers

    warm_up = int(_WARM_UP * total)
    rate = optimizers.schedules.CosineDecay(0.0, total - warm_up, warmup_target=max_lr, warmup_steps=warm_up)
    optimizer = optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
    loss_of = losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    started = time.monotonic()
    for number, (x, y) in enumerate(batches, start=1):
        loss = step(tf.constant(x), tf.constant(y))
        if number % _SHOWN_EVERY == 0 or number == total:
            left = (time.monotonic() - started) / number * (total - number)
            yield Progress(done=number, total=total, unit="steps", doing=f"training, {left:.0f} s left")
            yield Metric(name="loss", value=float(loss), step=number, series="train")
