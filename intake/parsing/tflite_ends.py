"""Where images enter a `.tflite` network and its answers leave it: one of each, and the answers are logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.errors import Refused
from intake.limits import LIMITS
from intake.parsing.tflite_parts import operator_name, shape_of, types

_AXES, _MOST_SIDE = 4, 4096
_TYPES = ("FLOAT32", "UINT8", "INT8")
_IMAGE = "images (batch, height, width, channels) of 1 or 3 channels, in float32, uint8 or int8"
_PASSES_ON = ("DEQUANTIZE", "QUANTIZE")
Ending = Literal["logits", "probabilities", "softmax", "sigmoid"]
"""What a network ends in; a softmax, or the sigmoid of a single score, that was taken off leaves logits."""


@dataclass(frozen=True)
class Entry:
    """How an image enters."""

    layout: Literal["NCHW", "NHWC"]
    channels: int
    height: int
    width: int
    dtype: str
    scale: float = 1.0
    zero_point: int = 0


def entry_of(graph: Any) -> Entry:
    """How an image enters the graph. Raises `Refused` for what takes no image."""
    tensor = graph.tensors[int(graph.inputs[0])]
    shape, kind = shape_of(tensor), types()[tensor.type]
    if kind not in _TYPES:
        raise Refused(
            f"The network takes {kind.lower()} {shape}",
            expected=_IMAGE,
            action="Convert it again with inference_input_type=tf.float32",
        )
    if len(shape) != _AXES:
        raise _no_image(kind, shape)
    if shape[0] != 1:
        raise Refused(
            f"The network takes {shape[0]:,} images at once", expected="one", action="Convert it for one image, or any"
        )
    if shape[3] in (1, 3):
        (height, width, channels), layout = shape[1:], "NHWC"
    elif shape[1] in (1, 3):
        (channels, height, width), layout = shape[1:], "NCHW"
    else:
        raise _no_image(kind, shape)
    if max(height, width) > _MOST_SIDE:
        raise Refused(f"The network takes images of {height:,} x {width:,} pixels", expected=f"at most {_MOST_SIDE:,}")
    scale, zero_point = _grid(tensor) if kind != "FLOAT32" else (1.0, 0)
    return Entry(layout, channels, height, width, kind.lower(), scale, zero_point)  # type: ignore[arg-type]


def _no_image(kind: str, shape: tuple[int, ...]) -> Refused:
    return Refused(
        f"The network takes {kind.lower()} {shape}",
        expected=_IMAGE,
        action="Put a Reshape layer before it that takes such images, and convert it again",
    )


def classes_of(graph: Any) -> int:
    """How many scores it answers with. Raises `Refused` where they are none."""
    tensor = graph.tensors[int(graph.outputs[0])]
    shape, kind = shape_of(tensor), types()[tensor.type]
    if len(shape) != 2 or kind not in _TYPES or not 2 <= shape[1] <= LIMITS.classes:
        raise Refused(
            f"The network answers with {kind.lower()} {shape}",
            expected=f"(batch, classes): one row of scores for each image, of 2 to {LIMITS.classes:,} classes",
            action="Convert the network up to its scores, without what comes after them",
        )
    return shape[1]


def of_one_output(model: Any) -> tuple[int, tuple[str, ...]]:
    """Leave a graph of several outputs the one that holds scores, in place: its number among them, and a sentence.

    Where several may, those count that a softmax or sigmoid makes. Raises `Refused` where it is not known which.
    """
    graph = model.subgraphs[0]
    outputs = [int(place) for place in graph.outputs]
    if len(outputs) == 1:
        return 0, ()
    rows = [number for number, place in enumerate(outputs) if _may_be_scores(graph.tensors[place])]
    ended = [number for number in rows if _is_probability(model, outputs[number])]
    if len(chosen := ended or rows) != 1:
        raise Refused(
            f"It has {len(outputs)} outputs, of which {len(rows)} may be scores",
            expected="one image in, and one row of scores out",
            action="Convert the part that classifies",
        )
    graph.outputs = np.array([outputs[chosen[0]]], np.int32)
    _leave_out_unread(graph)
    return chosen[0], (f"Of its {len(outputs)} outputs the one with scores is kept.",)


def _may_be_scores(tensor: Any) -> bool:
    shape = shape_of(tensor)
    return types()[tensor.type] in _TYPES and math.prod(shape) == max(shape, default=0) > 1


def _is_probability(model: Any, place: int) -> bool:
    graph = model.subgraphs[0]
    maker = _maker(graph, place)
    if maker is not None and operator_name(model, maker) in _PASSES_ON:
        maker = _maker(graph, int(maker.inputs[0]))
    return maker is not None and operator_name(model, maker) in ("SOFTMAX", "LOGISTIC")


def _leave_out_unread(graph: Any) -> None:
    """Drop operators that nothing reads, from the last to the first."""
    read = {int(place) for place in graph.outputs}
    kept = []
    for operator in reversed(graph.operators):
        if any(int(place) in read for place in operator.outputs):
            read.update(int(place) for place in operator.inputs)
            kept.append(operator)
    graph.operators = kept[::-1]


def without_softmax(model: Any) -> tuple[Ending, tuple[str, ...]]:
    """Take a softmax off the end of the graph, in place, or the sigmoid of a single score; what it ended in, and what
    is to be said of it.
    """
    graph = model.subgraphs[0]
    last = _maker(graph, int(graph.outputs[0]))
    before = _maker(graph, int(last.inputs[0])) if last and operator_name(model, last) in _PASSES_ON else None
    end = before or last
    name = operator_name(model, end) if end else ""
    is_single = math.prod(shape_of(graph.tensors[int(graph.outputs[0])])) == 1
    if name == "LOGISTIC" and not is_single:
        return "probabilities", ("It ends in a sigmoid: its answers are probabilities, whose order is that of logits.",)
    if name not in ("SOFTMAX", "LOGISTIC"):
        return "logits", ()
    source, made = int(end.inputs[0]), int(end.outputs[0])
    is_alone = len(_users(graph, made)) == (1 if before else 0)
    if not is_alone or shape_of(graph.tensors[source]) != shape_of(graph.tensors[made]) or source in graph.inputs:
        return "probabilities", ("It ends in a softmax that could not be taken off: its answers are probabilities.",)
    if before and operator_name(model, last) == "DEQUANTIZE":
        last.inputs = np.array([source], np.int32)
        gone = [end]
    else:  # what rounds probabilities to another grid has no grid for logits
        graph.outputs = np.array([source], np.int32)
        gone = [end, last] if before else [end]
    graph.operators = [each for each in graph.operators if all(each is not other for other in gone)]
    if name == "LOGISTIC":
        return "sigmoid", ("The sigmoid at its end was taken off: it answers with logits.",)
    return "softmax", ("The softmax at its end was taken off: it answers with logits.",)


def _maker(graph: Any, place: int) -> Any:
    return next((each for each in graph.operators if place in each.outputs), None)


def _users(graph: Any, place: int) -> list[Any]:
    return [each for each in graph.operators if each.inputs is not None and place in each.inputs]


def _grid(tensor: Any) -> tuple[float, int]:
    """Scale and zero point; 1 and 0 where there are none, as of pixels that are cast to floats."""
    grid = tensor.quantization
    if grid is None or grid.scale is None or not len(grid.scale):
        return 1.0, 0
    if len(grid.scale) != 1 or not float(grid.scale[0]) > 0:
        raise Refused("The network takes images in 8 bits without saying what their steps stand for", expected=_IMAGE)
    zero = 0 if grid.zeroPoint is None or not len(grid.zeroPoint) else int(grid.zeroPoint[0])
    return float(grid.scale[0]), zero
