"""Where images enter a `.tflite` network and its answers leave it: one of each, and the answers are logits."""

from __future__ import annotations

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
Answers = Literal["logits", "probabilities"]


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
    if len(shape) != _AXES or kind not in _TYPES:
        raise Refused(f"The network takes {kind.lower()} {shape}", expected=_IMAGE)
    if shape[0] != 1:
        raise Refused(
            f"The network takes {shape[0]:,} images at once", expected="one", action="Convert it for one image, or any"
        )
    if shape[3] in (1, 3):
        (height, width, channels), layout = shape[1:], "NHWC"
    elif shape[1] in (1, 3):
        (channels, height, width), layout = shape[1:], "NCHW"
    else:
        raise Refused(f"The network takes {kind.lower()} {shape}", expected=_IMAGE)
    if max(height, width) > _MOST_SIDE:
        raise Refused(f"The network takes images of {height:,} x {width:,} pixels", expected=f"at most {_MOST_SIDE:,}")
    scale, zero_point = _grid(tensor) if kind != "FLOAT32" else (1.0, 0)
    return Entry(layout, channels, height, width, kind.lower(), scale, zero_point)  # type: ignore[arg-type]


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


def without_softmax(model: Any) -> tuple[Answers, tuple[str, ...]]:
    """Take a softmax off the end of the graph, in place; what it answers with then, and what is to be said of it."""
    graph = model.subgraphs[0]
    last = _maker(graph, int(graph.outputs[0]))
    before = _maker(graph, int(last.inputs[0])) if last and operator_name(model, last) in _PASSES_ON else None
    end = before or last
    name = operator_name(model, end) if end else ""
    if name == "LOGISTIC":
        return "probabilities", ("It ends in a sigmoid: its answers are probabilities, whose order is that of logits.",)
    if name not in ("SOFTMAX", "LOG_SOFTMAX"):
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
    return "logits", ("The softmax at its end was taken off: it answers with logits.",)


def _maker(graph: Any, place: int) -> Any:
    return next((each for each in graph.operators if place in each.outputs), None)


def _users(graph: Any, place: int) -> list[Any]:
    return [each for each in graph.operators if each.inputs is not None and place in each.inputs]


def _grid(tensor: Any) -> tuple[float, int]:
    grid = tensor.quantization
    if grid is None or grid.scale is None or len(grid.scale) != 1 or not float(grid.scale[0]) > 0:
        raise Refused("The network takes images in 8 bits without saying what their steps stand for", expected=_IMAGE)
    zero = 0 if grid.zeroPoint is None or not len(grid.zeroPoint) else int(grid.zeroPoint[0])
    return float(grid.scale[0]), zero
