"""Which input of a graph takes the images, and which output is the answer.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Literal

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from core.errors import Refused
from intake.items import GraphInput
from intake.parsing.graph_checks import EXPORTED, named
from intake.parsing.graph_order import read_by
from intake.parsing.graph_shapes import Mismatch, Shapes, shapes_of
from intake.parsing.graph_tensors import FLOATS
from intake.parsing.untrusted import shown

LARGEST_SIDE, LARGEST_BATCH = 4096, 256
TRIED_SIDES = (224, 32, 28, 64, 96, 128, 160, 192, 240, 256, 288, 299, 320, 384, 448, 512)
"""Where the file leaves the size open."""
TYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64", TensorProto.UINT8: "uint8", TensorProto.INT8: "int8", TensorProto.INT32: "int32",
    TensorProto.INT64: "int64", TensorProto.BOOL: "bool",
}  # fmt: skip
_PIXELS = (*FLOATS, TensorProto.UINT8)
_EXPECTED = "one input, batch × channels × height × width, of float32 (or uint8, float16), with 1 or 3 channels"
_TEXT = ("input_ids", "attention_mask", "token_type_ids")
_PASSING = frozenset(
    ("Cast", "Identity", "Sub", "Add", "Mul", "Div", "QuantizeLinear", "DequantizeLinear", "Pad", "Clip")
)
"""Operators that leave the channels where they are."""


def image_input(model: ModelProto) -> tuple[str, GraphInput]:
    """The name of the input that takes images, and what it takes. Raises `Refused` where there is no such one."""
    value = _only_input(model.graph)
    kind = value.type.tensor_type.elem_type
    sides = _sides(value)
    if len(sides) != 4 or kind not in _PIXELS:
        raise Refused(
            f"The input {_described(value)}" + (", without a batch axis" if len(sides) == 3 else ""),
            expected=_EXPECTED, action="Export it for a batch of images", snippet=EXPORTED,
        )  # fmt: skip
    layout, channels = _channels(model.graph, value.name, sides)
    height, width = sides[2:] if layout == "NCHW" else sides[1:3]
    if channels not in (1, 3) or any(side is not None and side > LARGEST_SIDE for side in (height, width)):
        raise Refused(
            f"The input {_described(value)}", expected=f"{_EXPECTED} and sides of at most {LARGEST_SIDE:,}",
            action="Export it for grayscale or colour images", snippet=EXPORTED,
        )  # fmt: skip
    taken = GraphInput(
        channels=channels, height=height, width=width, layout=layout, dtype=TYPES[kind], fixed_batch=sides[0]
    )  # fmt: skip
    if (sides[0] or 1) > LARGEST_BATCH:
        raise Refused(
            f"The input {_described(value)}", expected=f"a batch of at most {LARGEST_BATCH} images, or one left open",
            action="Export it with a batch size that is left open", snippet=EXPORTED,
        )  # fmt: skip
    return value.name, taken


def _only_input(graph: GraphProto) -> ValueInfoProto:
    read = {name for node in graph.node for name in read_by(node)}
    used = [each for each in graph.input if each.name in read]
    if any(each.name in _TEXT for each in used):
        raise Refused(
            f"This is a model of texts: its input {_described(used[0])}", expected=_EXPECTED,
            action="Name its Hugging Face folder, with weights and tokenizer, in models.yaml on this machine instead",
        )  # fmt: skip
    if len(used) == 1:
        only: ValueInfoProto = used[0]
        return only
    if not used:
        raise Refused("The graph takes no input", expected=_EXPECTED)
    listed = "; ".join(_described(each) for each in used[:8])
    raise Refused(f"The graph has {len(used)} inputs: {listed}", expected=_EXPECTED, action="Export it with one input")


def _sides(value: ValueInfoProto) -> tuple[int | None, ...]:
    """None for a side that is left open; four of these where no shape is given at all."""
    if not value.type.tensor_type.HasField("shape"):
        return (None,) * 4
    return tuple(side.dim_value if side.dim_value > 0 else None for side in value.type.tensor_type.shape.dim)


def _described(value: ValueInfoProto) -> str:
    """`x takes float32 of 1 × 3 × ? × ?`."""
    kind = value.type.tensor_type.elem_type
    shape = " × ".join("?" if side is None else f"{side}" for side in _sides(value)) or "one number"
    return f"{shown(value.name)} takes {TYPES.get(kind, 'another type')} of {shape}"


def _channels(
    graph: GraphProto, name: str, sides: tuple[int | None, ...]
) -> tuple[Literal["NCHW", "NHWC"], int | None]:
    """By the shape where it tells, else by the first convolution; three channels first where nothing does."""
    if sides[1] in (1, 3):
        return "NCHW", sides[1]
    if sides[3] in (1, 3):
        return "NHWC", sides[3]
    if sides[1] is not None:
        return "NCHW", sides[1]
    if sides[3] is not None and sides[3] <= 4:
        return "NHWC", sides[3]
    node, turned = _first_layer(graph, name)
    weights = {each.name: each for each in graph.initializer}
    if node is None or node.input[1] not in weights:
        return "NHWC" if turned else "NCHW", 3
    groups = next((each.i for each in node.attribute if each.name == "group"), 1)
    return "NHWC" if turned else "NCHW", weights[node.input[1]].dims[1] * groups


def _first_layer(graph: GraphProto, name: str) -> tuple[NodeProto | None, bool]:
    """The convolution that sees the image first, and whether its channels are brought to the front before."""
    turned = False
    reached = {name}
    for node in graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type == "Conv":
            return node, turned
        perm = next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
        turned = turned or perm == [0, 3, 1, 2]
        if node.op_type in _PASSING or node.op_type == "Transpose":
            reached.update(node.output)
    return None, turned


def trial_shapes(
    model: ModelProto, name: str, taken: GraphInput, metadata: Mapping[str, str]
) -> tuple[GraphInput, Shapes]:
    """The input with its sides filled in for a trial, and the shapes of the graph for that.

    Raises `Refused` where the graph fits no size.
    """
    failure: Mismatch | None = None
    for height, width in dict.fromkeys(_sizes(taken, metadata)):
        tried = taken.model_copy(update={"height": height, "width": width})
        try:
            return tried, shapes_of(model, {name: input_shape(tried, taken.fixed_batch or 1)})
        except Mismatch as error:
            failure = failure or error
    raise Refused(f"The graph does not hold together: {failure}", action="Export the file again", snippet=EXPORTED)


def _sizes(taken: GraphInput, metadata: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """What is given, in one or both sides, else what the file says of itself and what is usual."""
    said = [int(each) for each in re.findall(r"\d+", metadata.get("input_size", ""))][-2:]
    if len(said) == 2 and all(0 < side <= LARGEST_SIDE for side in said):
        yield taken.height or said[0], taken.width or said[1]
    for side in TRIED_SIDES:
        yield taken.height or taken.width or side, taken.width or taken.height or side


def fits_only(model: ModelProto, name: str, tried: GraphInput) -> bool:
    """Whether images of another size do not go through."""
    assert tried.height is not None
    assert tried.width is not None
    larger = tried.model_copy(update={"height": tried.height + 32, "width": tried.width + 32})
    try:
        shapes_of(model, {name: input_shape(larger, tried.fixed_batch or 1)})
    except (Mismatch, Refused):
        return True
    return False


def input_shape(tried: GraphInput, batch: int) -> tuple[int, ...]:
    """Of the original input."""
    assert tried.channels is not None
    assert tried.height is not None
    assert tried.width is not None
    sides = (tried.height, tried.width)
    return (batch, tried.channels, *sides) if tried.layout == "NCHW" else (batch, *sides, tried.channels)


def answers(model: ModelProto, shapes: Shapes, batch: int, wanted: str | None) -> tuple[str, ...]:
    """Names of the outputs that may be the answer, the chosen one first: [batch, classes], but for sides of 1.

    Chosen is the one shown as `wanted`, one called logits, the only one of that very form, or the first. Raises
    `Refused` where there is none.
    """
    outputs = [each.name for each in model.graph.output]
    fitting = [name for name in outputs if _is_answer(shapes, name, batch)]
    if not fitting:
        raise _no_answer(model, shapes, outputs)
    asked = [name for name in fitting if shown(name) == wanted]
    if wanted is not None and not asked:
        raise Refused(f"There is no output {shown(wanted)}", expected=" or ".join(map(shown, fitting)))
    flat = [name for name in fitting if len(shapes.known(name) or ()) == 2]
    named_so = [name for name in fitting if name.lower() == "logits"]
    first = next(iter(asked or named_so or (flat if len(flat) == 1 else fitting)))
    return (first, *(name for name in fitting if name != first))


def _is_answer(shapes: Shapes, name: str, batch: int) -> bool:
    shape = shapes.known(name)
    if shape is None or len(shape) < 2 or shape[0] != batch or shapes.kind(name) not in FLOATS:
        return False
    return max(shape[1:]) == prod(shape[1:]) > 1


def _no_answer(model: ModelProto, shapes: Shapes, outputs: list[str]) -> Refused:
    def described(name: str) -> str:
        shape = shapes.shape(name)
        sides = (
            "an unknown shape" if shape is None else " × ".join("?" if each is None else f"{each}" for each in shape)
        )
        return f"{TYPES.get(shapes.kind(name), 'another type')} of {sides or 'one number'} as {shown(name)}"

    makers = {name: node for node in model.graph.node for name in node.output}
    chooses = next(
        (makers[name] for name in outputs if name in makers and makers[name].op_type in ("ArgMax", "TopK")), None
    )
    return Refused(
        f"The graph answers {', '.join(map(described, outputs[:8])) or 'nothing'}",
        expected="an output of batch × classes with the score of each of at least two classes, in floats",
        action=f"Export it without its last step, {named(chooses)}"
        if chooses
        else "Export a network that classifies images",
    )


def metadata_of(model: ModelProto) -> dict[str, str]:
    """What the file says of itself, as far as it can be shown."""
    pairs = [(each.key, each.value) for each in model.metadata_props[:50]]
    return {shown(key): _clipped(value) for key, value in pairs if key}


def _clipped(text: str) -> str:
    line = "".join(letter if letter.isprintable() else " " for letter in text[:1000])
    return line if len(text) <= 1000 else f"{line}..."
