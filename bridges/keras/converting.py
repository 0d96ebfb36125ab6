"""A Keras network as a `.tflite` file in float32."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.data import Floats
from core.errors import RunFailed
from core.progress import Progress, Steps

_EXAMPLES = 4
LARGEST_DIFFERENCE = 1e-3
"""Of outputs, relative to the largest: float arithmetic in another order."""
_SMALLEST_OUTPUT = 1e-6
"""Outputs below it are noise and not compared."""


def convert(model: str, out: str) -> Steps[dict[str, Any]]:
    """Task: write to `out` the `.tflite` in float32 of the network in the file `model`; returns its `size_bytes`."""
    from bridges.keras.form import read

    yield Progress(done=0, total=1, unit="conversions", doing="converting to LiteRT's format")
    content = float_tflite(read(Path(model)))
    Path(out).write_bytes(content)
    return {"size_bytes": len(content)}


def float_tflite(model: Any) -> bytes:
    """The network as a `.tflite` in float32, for batches of any size, which answers as the model does.

    BatchNorm is merged into the layers before it. Raises `RunFailed` where it cannot be converted or answers otherwise.
    """
    content = converted(converter_of(model))
    x = random_inputs(model)
    wanted, given = answers(model, x), tflite_answers(content, x)
    difference = float(np.abs(wanted - given).max() / max(_SMALLEST_OUTPUT, np.abs(wanted).max()))
    if not difference <= LARGEST_DIFFERENCE:
        raise RunFailed(
            f"The network in LiteRT's format answers otherwise than in Keras: outputs differ by {difference:.2g}",
            expected=f"at most {LARGEST_DIFFERENCE:g} of the largest output",
        )
    return content


def converter_of(model: Any) -> Any:
    """TensorFlow's converter for a model of either Keras, with nothing switched on yet.

    It is given the model's function and variables alone: `from_keras_model` first writes a SavedModel with a function
    for every layer, which takes ten times as long.
    """
    import tensorflow as tf

    given = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")
    function = tf.function(lambda images: model(images, training=False)).get_concrete_function(given)
    holder = tf.Module()
    holder.function = function
    holder.held = [getattr(variable, "_value", variable) for variable in model.variables]
    return tf.lite.TFLiteConverter.from_concrete_functions([function], holder)


def converted(converter: Any) -> bytes:
    """What a converter gives. Raises `RunFailed` with its first words where it gives nothing, and `MemoryError`."""
    try:
        with quiet():
            return bytes(converter.convert())
    except MemoryError:
        raise
    except Exception as error:  # the converter raises anything
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RunFailed(f"TensorFlow cannot convert this network to LiteRT's format ({first[:200]})") from error


def random_inputs(model: Any) -> Floats:
    """float32 x[4, H, W, C], the same each time, as wide as normalised pixels are."""
    return np.random.default_rng(0).normal(size=(_EXAMPLES, *model.input_shape[1:])).astype(np.float32)


def answers(model: Any, x: Floats) -> Floats:
    """float32 [N, classes] of the model itself, not in training."""
    return np.asarray(model(x, training=False), np.float32)


def tflite_answers(content: bytes, x: Floats) -> Floats:
    """float32 [N, classes] of a `.tflite` file with float inputs, one example at a time."""
    import tensorflow as tf

    with quiet():
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for row in x:
        interpreter.set_tensor(source, row[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target)[0])
    return np.asarray(outputs, np.float32)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, TensorFlow's own log says only what went wrong, and converters print nothing."""
    import tensorflow as tf

    logger = tf.get_logger()
    before: int = logger.level
    logger.setLevel("ERROR")
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
