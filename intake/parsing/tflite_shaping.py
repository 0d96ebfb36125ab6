"""Gives a `.tflite` network the ends that all others here have: images of four axes in, a row of scores out.

What is put before or behind it are LiteRT's own operators, which change no number. Imports LiteRT inside its functions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from intake.parsing.tflite_parts import shape_of, type_of
from intake.parsing.tflite_trial import Trial

SIDE = 224
"""Pixels, of networks that take images of any size."""
SMALLEST_SIDE = 8
"""Of what is taken for a gray image, in pixels."""
ONE_LOGIT = (
    "It answers with one score and no sigmoid follows: it is taken for a network of two classes whose score is a logit "
    "(above 0: the second class). If it estimates a quantity instead, what is measured of its answers means nothing."
)
ONE_SCORE = "Its one score became two classes: the first has the score 0, the second the one that the network gives."
FLOAT32, INT32 = 0, 2
"""The format's numbers for these types."""
_ANY = -1
_IMAGE_AXES = 4


def of_one_size(model: Any, content: bytes) -> tuple[str, ...]:
    """Give a network for images of any size `SIDE` pixels, in place; a sentence where that was done.

    The sizes of what it computes are looked up by running it. Raises `Refused` where it runs with no such images.
    """
    graph = model.subgraphs[0]
    tensor = graph.tensors[int(graph.inputs[0])]
    sizes = list(zip(_open_shape(tensor), shape_of(tensor), strict=True))
    if len(sizes) != _IMAGE_AXES or (_ANY, 1) not in sizes[1:]:
        return ()
    shape = (1, *(SIDE if each == (_ANY, 1) else each[1] for each in sizes[1:]))
    trial = Trial(content, delegates=False)
    trial.answers(np.zeros(shape, type_of(tensor).lower()), together=True)
    for found, each in zip(trial.shapes(), graph.tensors, strict=False):
        each.shape = np.array(found, np.int32)
    tensor.shapeSignature = np.array([_open_shape(tensor)[0], *shape[1:]], np.int32)
    return (f"It takes images of any size: it was fixed at {SIDE} x {SIDE} pixels.",)


def to_images(model: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put a RESHAPE before a network that takes gray images without a channel, or as rows, in place.

    What comes back is what is to be said of it, and what is to be warned about: rows are taken for images by a guess.
    """
    graph = model.subgraphs[0]
    place = int(graph.inputs[0])
    tensor = graph.tensors[place]
    shape = shape_of(tensor)
    sides = _sides(shape)
    if shape[:1] != (1,) or min(sides, default=0) < SMALLEST_SIDE:
        return (), ()
    height, width = sides
    image = _tensor(model, tensor, (1, height, width, 1))
    _operator(model, "RESHAPE", [image, _sizes(model, _ANY, *shape[1:])], place, first=True)
    graph.inputs = np.array([image], np.int32)
    if len(shape) == 3:
        return (f"It takes images without an axis of channels: here they are gray, {height} x {width} pixels.",), ()
    rows = f"It takes rows of {shape[1]:,} numbers, which are taken for the pixels of gray images of"
    return (), (f"{rows} {height} x {width}, line by line.",)


def to_rows(model: Any) -> None:
    """Put a RESHAPE behind scores that lie along one axis of several: (1, 1, 1, 1000), or without a batch: (1000,)."""
    graph = model.subgraphs[0]
    place = int(graph.outputs[0])
    shape = shape_of(graph.tensors[place])
    count = math.prod(shape)
    is_other = len(shape) == 2 or (len(shape) > 2 and shape[0] != 1) or count != max(shape, default=0)
    if is_other or not _is_score(graph.tensors[place]):
        return
    row = _tensor(model, graph.tensors[place], (1, count))
    _operator(model, "RESHAPE", [place, _sizes(model, _ANY, count)], row)
    graph.outputs = np.array([row], np.int32)


def to_two_classes(model: Any) -> bool:
    """Put a class of the score 0 before the one score that a network gives, in place; whether it gives only one.

    The score s is multiplied with (0, 1); a softmax of (0, s) is the sigmoid of s, for the second class.
    """
    graph = model.subgraphs[0]
    place = int(graph.outputs[0])
    if not _is_score(graph.tensors[place]) or shape_of(graph.tensors[place]) != (1, 1):
        return False
    if type_of(graph.tensors[place]) != "FLOAT32":
        score = _tensor(model, graph.tensors[place], (1, 1))
        graph.tensors[score].type, graph.tensors[score].quantization = FLOAT32, None
        _operator(model, "DEQUANTIZE", [place], score)
        place = score
    both = _tensor(model, graph.tensors[place], (1, 2))
    _operator(model, "MUL", [place, _constant(model, np.array([[0, 1]], np.float32), FLOAT32)], both)
    graph.outputs = np.array([both], np.int32)
    return True


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(H, W) of what is an image without an axis of channels, or as many numbers as a square has; else ()."""
    if len(shape) == 3:
        return shape[1:]
    side = math.isqrt(shape[1]) if len(shape) == 2 else 0
    return (side, side) if side and side**2 == shape[1] else ()


def _tensor(model: Any, like: Any, shape: tuple[int, ...]) -> int:
    """The place of a new one that is computed, of the type and on the grid of another, open where that is."""
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorT()
    made.type, made.quantization, made.hasRank = like.type, like.quantization, like.hasRank
    made.shape, made.name, made.buffer = np.array(shape, np.int32), f"end_{len(model.subgraphs[0].tensors)}", 0
    if _ANY in _open_shape(like)[:1]:
        made.shapeSignature = np.array([_ANY, *shape[1:]], np.int32)
    return _appended(model.subgraphs[0].tensors, made)


def _is_score(tensor: Any) -> bool:
    return type_of(tensor) in ("FLOAT32", "UINT8", "INT8")


def _sizes(model: Any, *values: int) -> int:
    """The place of a new constant of whole numbers."""
    return _constant(model, np.array(values, np.int32), INT32)


def _constant(model: Any, values: npt.NDArray[Any], kind: int) -> int:
    """The place of a new one, of a type of the format's."""
    from ai_edge_litert import schema_py_generated as schema

    stored, made = schema.BufferT(), schema.TensorT()
    stored.data = np.frombuffer(values.tobytes(), np.uint8)
    made.type, made.shape = kind, np.array(values.shape, np.int32)
    made.name, made.buffer = f"end_{len(model.subgraphs[0].tensors)}", _appended(model.buffers, stored)
    return _appended(model.subgraphs[0].tensors, made)


def _operator(model: Any, name: str, inputs: list[int], output: int, *, first: bool = False) -> None:
    from ai_edge_litert import schema_py_generated as schema

    code, made = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = 1
    made.opcodeIndex = _appended(model.operatorCodes, code)
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    if name == "MUL":  # OpenVINO asks for its settings
        made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    operators = model.subgraphs[0].operators
    operators.insert(0 if first else len(operators), made)


def _appended(things: list[Any], thing: Any) -> int:
    things.append(thing)
    return len(things) - 1


def _open_shape(tensor: Any) -> tuple[int, ...]:
    """Its sizes, with -1 for those that are open."""
    found = tensor.shapeSignature
    return shape_of(tensor) if found is None else tuple(int(size) for size in np.atleast_1d(found))
