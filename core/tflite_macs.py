"""The arithmetic of a `.tflite` file. Imports LiteRT inside functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from core.tflite_file import Operator, TfliteFile

Shape = tuple[int, ...]
Shapes = Callable[[int], Shape]

COUNTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL"})
"""Operators that multiply and accumulate."""


def macs_of_file(content: bytes) -> int:
    """Multiply-accumulates of one image in convolutions and matrix products of the first graph.

    Shapes are those in the file; where it leaves some open besides the batch, they are looked up by running it once.
    """
    file = TfliteFile(content)
    counted = [operator for operator in file.operators if operator.name in COUNTED]
    shapes: Shapes = file.shape
    read = (index for operator in counted for index in (*operator.inputs, *operator.outputs) if index >= 0)
    if any(map(file.is_open, read)):
        shapes = _looked_up(content)
    images = (*shapes(file.input), 1)[0]
    return sum(macs_of(operator, shapes) for operator in counted) // images


def macs_of(operator: Operator, shapes: Shapes) -> int:
    """Multiply-accumulates of one operator, the batch included; 0 of those that are not `COUNTED`."""
    match operator.name:
        case "CONV_2D":
            return math.prod(shapes(operator.outputs[0])) * math.prod(shapes(operator.inputs[1])[1:])
        case "DEPTHWISE_CONV_2D":
            return math.prod(shapes(operator.outputs[0])) * math.prod(shapes(operator.inputs[1])[1:3])
        case "TRANSPOSE_CONV":
            return math.prod(shapes(operator.inputs[2])) * math.prod(shapes(operator.inputs[1])[:3])
        case "CONV_3D":
            return math.prod(shapes(operator.outputs[0])) * math.prod(shapes(operator.inputs[1])[:4])
        case "FULLY_CONNECTED":
            return math.prod(shapes(operator.inputs[0])) * shapes(operator.inputs[1])[0]
        case "BATCH_MATMUL":
            inner = -2 if operator.options and operator.options.adjX else -1
            return math.prod(shapes(operator.outputs[0])) * shapes(operator.inputs[0])[inner]
    return 0


def _looked_up(content: bytes) -> Shapes:
    """The shape of every tensor as it turns out when zeros pass."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    interpreter.invoke()
    found = {each["index"]: tuple(map(int, each["shape"])) for each in interpreter.get_tensor_details()}
    return found.__getitem__
