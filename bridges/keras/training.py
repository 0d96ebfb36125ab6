"""The one training loop for networks of Keras, and fine-tuning by it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bridges.keras.data import Augmentation, Images, read_images
from core.data import Floats
from core.errors import BadInput, RunFailed
from core.progress import Metric, Progress, Steps

_REPORT_EVERY_S = 0.25
_ASKED_AT_ONCE = 256
"""Calibration images in one batch."""
_WAY_OUT = "Lower the learning rate and run again"
MODEL = "model.npz"
TRAINED = "trained.npz"
TRAINED_TFLITE = "trained.tflite"


@dataclass(frozen=True)
class Plan:
    """How long and how strongly to train."""

    epochs: int
    learning_rate: float
    """The highest one."""
    batch_size: int = 64
    schedule: Literal["cosine", "constant"] = "cosine"
    augmentation: Augmentation = "mirror"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """What there is to learn from, and how."""

    train: Images
    calibrate: Images
    plan: Plan

    @property
    def batch_size(self) -> int:
        """Images per step: no more than there are."""
        return min(self.plan.batch_size, len(self.train.labelled))

    @property
    def epoch_steps(self) -> int:
        """Steps of one pass over the labelled images; those that fill no batch are left out."""
        return len(self.train.labelled) // self.batch_size

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.plan.epochs * self.epoch_steps


@dataclass(frozen=True)
class Watch:
    """What a technique does and tells while the network trains."""

    after_step: Callable[[], None] = lambda: None
    """Called after each update of the weights."""
    after_epoch: Callable[[], None] = lambda: None
    """Called once an epoch is over, before it is judged."""
    sparsity: Callable[[], float] | None = None
    """Share of zeros at the moment, in the layers that are being pruned."""


def fine_tune(folder: str, *, mean: list[float], std: list[float], plan: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """Task: train the network in `model.npz` of the folder on; writes `trained.npz` and `trained.tflite` there.

    `plan` has the fields of `Plan`. Returns how many `steps` it took.
    """
    from bridges.keras.form import read

    lesson = lesson_of(folder, mean, std, plan)
    model = read(Path(folder) / MODEL)
    yield from train(model, lesson)
    save(model, folder)
    return {"steps": lesson.steps}


def lesson_of(folder: str, mean: Sequence[float], std: Sequence[float], plan: Mapping[str, Any]) -> Lesson:
    """What the folder has to learn from; everything random is drawn anew from the plan's seed. Raises `BadInput`."""
    lesson = Lesson(read_images(folder, "train", mean, std), read_images(folder, "calibrate", mean, std), Plan(**plan))
    if not len(lesson.train.labelled):
        raise BadInput(
            f"{len(lesson.train)} training images, none of them with a class",
            expected="images with classes to learn from",
            action="Give the training images classes",
        )
    seed_everything(lesson.plan.seed)
    return lesson


def seed_everything(seed: int) -> None:
    """Python, numpy and TensorFlow draw from that seed, and on a CPU the same operations give the same bits."""
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):  # there, some gradients exist only in an order that varies
        tf.config.experimental.enable_op_determinism()


def save(model: Any, folder: str) -> None:
    """Write the trained network in the studio's own form and, in float32, in LiteRT's format."""
    from bridges.keras.converting import float_tflite
    from bridges.keras.form import write

    write(model, Path(folder) / TRAINED)
    (Path(folder) / TRAINED_TFLITE).write_bytes(float_tflite(model))


def train(model: Any, lesson: Lesson, watch: Watch | None = None) -> Steps[None]:
    """Train a model of logits in place by Adam on the cross entropy of the first acceptable class.

    After each epoch its accuracy on the calibration images is told, where these have classes. Raises `RunFailed` when
    the loss is not finite.
    """
    watch = watch or Watch()
    yield Progress(done=0, total=lesson.steps, unit="steps", doing="preparing the training step")
    step, judge = _step_of(model, lesson), _judge_of(model)
    random, done, unread, told = np.random.default_rng(lesson.plan.seed), 0, [], time.monotonic()
    for epoch in range(1, lesson.plan.epochs + 1):
        for x, y in lesson.train.shuffled(lesson.batch_size, random, lesson.plan.augmentation):
            unread.append(step(x, y))
            watch.after_step()
            done += 1
            if done % lesson.epoch_steps and time.monotonic() - told < _REPORT_EVERY_S:
                continue
            yield Progress(done=done, total=lesson.steps, unit="steps", doing=f"epoch {epoch} of {lesson.plan.epochs}")
            yield from _losses(unread, done)
            yield from _zeros(watch, done)
            unread, told = [], time.monotonic()
        watch.after_epoch()
        _check_finite(model, done)
        yield from _judged(judge, lesson.calibrate, done)


def _losses(unread: Sequence[Any], done: int) -> Iterator[Metric]:
    loss = float(np.mean([float(each) for each in unread]))
    if not math.isfinite(loss):
        raise RunFailed(f"The training loss became {loss} at step {done}", action=_WAY_OUT)
    yield Metric(name="loss", value=loss, step=done, series="train")


def _check_finite(model: Any, done: int) -> None:
    """Raises `RunFailed` where a weight is not finite: the last update shows in no loss any more."""
    if not all(np.isfinite(weight.numpy()).all() for weight in model.trainable_weights):
        raise RunFailed(f"Weights were not finite any more at step {done}", action=_WAY_OUT)


def _zeros(watch: Watch, done: int) -> Iterator[Metric]:
    if watch.sparsity:
        yield Metric(name="sparsity", value=watch.sparsity(), step=done, series="train")


def _step_of(model: Any, lesson: Lesson) -> Callable[[Any, Any], Any]:
    """One update of the weights, which returns the loss of x[N, H, W, C] and y[N]."""
    import tensorflow as tf
    from tf_keras import losses, optimizers

    rate: Any = lesson.plan.learning_rate
    if lesson.plan.schedule == "cosine":
        rate = optimizers.schedules.CosineDecay(rate, lesson.steps)
    optimizer = optimizers.Adam(rate)
    loss_of = losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
            everything = tf.add_n([loss, *model.losses])
        variables = model.trainable_variables
        gradients = tape.gradient(everything, variables)
        optimizer.apply_gradients(
            [(gradient, each) for gradient, each in zip(gradients, variables, strict=True) if gradient is not None]
        )
        return loss

    return lambda x, y: step(tf.constant(x), tf.constant(y))


def _judge_of(model: Any) -> Callable[[Floats], Any]:
    """The predicted class of each x[N, H, W, C]."""
    import tensorflow as tf

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def judge(x: Any) -> Any:
        return tf.argmax(model(x, training=False), axis=-1)

    return lambda x: judge(tf.constant(x)).numpy()


def _judged(judge: Callable[[Floats], Any], images: Images, done: int) -> Iterator[Metric]:
    if not len(images.labelled):
        return
    predicted = np.concatenate([judge(x) for x in images.in_order(_ASKED_AT_ONCE)])
    right = (images.labels == predicted[:, None]).any(1)
    yield Metric(name="accuracy", value=float(right.mean()), step=done, series="validation")
