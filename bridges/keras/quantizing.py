"""Post-training quantization by TensorFlow's own converter.

Source: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bridges.keras.converting import converted, converter_of, quiet
from bridges.keras.data import read_images
from core.data import Floats
from core.errors import NothingDone
from core.progress import Progress, Steps

MODEL, QUANTIZED = "model.npz", "quantized.tflite"
"""Names of the files in the folder that both processes use."""
Scheme = Literal["dynamic", "fp16", "int8", "int16x8"]
CALIBRATED: tuple[Scheme, ...] = ("int8", "int16x8")
"""Those that must see images."""
_REDUCED = {"dynamic": "int8", "fp16": "float16", "int8": "int8", "int16x8": "int16"}
"""The type of numbers that must be in the file where a scheme did anything."""
_FREE = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SHAPE", "STRIDED_SLICE", "PACK", "DELEGATE"})
"""Operators that compute nothing a float result would tell of."""


def quantize(folder: str, *, mean: list[float], std: list[float], scheme: Scheme, images: int) -> Steps[dict[str, Any]]:
    """Task: quantize the network in `model.npz` of the folder into its `quantized.tflite`.

    The first `images` calibration images show how far activations reach, where the scheme has to know. Returns
    `operators` and `in_float`: how many operators compute, and the names of those that do so in float. Raises
    `NothingDone` where no number of the file is of the reduced type.
    """
    from bridges.keras.form import read

    yield Progress(done=0, total=1, unit="conversions", doing="quantizing")
    known = read_images(folder, "calibrate", mean, std)
    x = known.normalised(known.pixels[:images]) if scheme in CALIBRATED else None
    content = quantized(read(Path(folder) / MODEL), scheme, x)
    (Path(folder) / QUANTIZED).write_bytes(content)
    return what_computes(content)


def quantized(model: Any, scheme: Scheme, x: Floats | None = None) -> bytes:
    """The network as a `.tflite` with float input and output, in that scheme; `x`[N, H, W, C] calibrates it.

    Operators that have no kernel of that kind stay in float. Raises `RunFailed` where the converter stops, and
    `NothingDone`.
    """
    converter = converter_of(model)
    _switch_on(converter, scheme, x)
    content = converted(converter)
    if _REDUCED[scheme] not in _types(content):
        raise NothingDone(
            "The converter left every weight of this network in float",
            expected="a layer of at least 1,024 weights" if scheme == "dynamic" else "a layer that can be quantized",
            action="Choose another scheme",
        )
    return content


def _switch_on(converter: Any, scheme: Scheme, x: Floats | None) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme not in CALIBRATED:
        return
    assert x is not None, "static schemes are given images"

    def examples() -> Iterator[list[Floats]]:
        for row in x:
            yield [row[None]]

    converter.representative_dataset = examples
    sets = tf.lite.OpsSet
    few_bits = (
        sets.TFLITE_BUILTINS_INT8
        if scheme == "int8"
        else sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    )
    converter.target_spec.supported_ops = [few_bits, sets.TFLITE_BUILTINS]


def _interpreter(content: bytes) -> Any:
    import tensorflow as tf

    with quiet():
        return tf.lite.Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


def _types(content: bytes) -> set[str]:
    return {np.dtype(tensor["dtype"]).name for tensor in _interpreter(content).get_tensor_details()}


def what_computes(content: bytes) -> dict[str, Any]:
    """How many operators of a `.tflite` compute (`operators`), and the names of those that answer in float."""
    interpreter = _interpreter(content)
    types = {tensor["index"]: np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()}
    operators = [each for each in interpreter._get_ops_details() if each["op_name"] not in _FREE]
    in_float = [each["op_name"] for each in operators if types.get(int(each["outputs"][0])) == "float32"]
    return {"operators": len(operators), "in_float": in_float}
