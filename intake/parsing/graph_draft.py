"""One ONNX model on its way from how it was brought to how it is kept.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, NodeProto, TensorProto

from core.data import Floats
from core.errors import Refused
from intake.limits import LIMITS
from intake.parsing import graph_form as form
from intake.parsing.graph_batch import for_any_batch
from intake.parsing.graph_checks import check, opset_of
from intake.parsing.graph_ends import answers, fits_only, image_input, input_shape, metadata_of, trial_shapes
from intake.parsing.graph_indices import keep_within
from intake.parsing.graph_order import put_in_order
from intake.parsing.graph_scan import no_onnx
from intake.parsing.graph_shapes import shapes_of
from intake.parsing.graph_tensors import FLOATS
from intake.parsing.graph_trial import answers_of_original, tolerance_for, trial_images
from intake.parsing.untrusted import shown

_QUANTIZED = frozenset((
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger",
))  # fmt: skip
_INTEGERS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)
_PROBABILITIES = {"Softmax": "probabilities", "Sigmoid": "a probability for each class on its own"}
_BOUNDED = "Where it picks numbers by places that it works out itself, these are held within bounds ({})"
_ARITHMETIC = frozenset(("Sub", "Add", "Mul", "Div", "BatchNormalization"))


class Draft:
    """Checked at once; `tried` before `bring_to_form` before `content` and `facts`. Each raises `Refused`."""

    def __init__(self, content: bytes, logits: str | None) -> None:
        self._model = model = _parsed(content)
        self._producer = shown(f"{model.producer_name} {model.producer_version}".strip())
        check(model)
        self._opset = opset_of(model)
        self._metadata = metadata_of(model)
        form.constants_lifted(model)
        self._notes = [form.in_eval_mode(model)]
        put_in_order(model.graph)
        if self._opset < form.OLDEST_THAT_RUNS:
            self._notes.append(form.in_newer_opset(model))
            form.constants_lifted(model)
        self._name, self._taken = image_input(model)
        self._notes.append(form.in_float32(model))
        self._batch = self._taken.fixed_batch or 1
        self._sized, self._shapes = trial_shapes(model, self._name, self._taken, self._metadata)
        self._choose_size()
        self._outputs = answers(model, self._shapes, self._batch, logits)
        self._classes = prod(self._shapes.known(self._outputs[0]) or ()) // self._batch
        if self._classes > LIMITS.classes:
            raise Refused(f"It tells {self._classes:,} classes apart", expected=f"at most {LIMITS.classes:,}")
        form.cut_to(model, self._outputs[0])
        if not model.graph.input:
            raise Refused(
                f"The output {shown(self._outputs[0])} does not depend on the image", expected="one that does"
            )
        operators = Counter(node.op_type for node in model.graph.node)
        self._quantized = not _QUANTIZED.isdisjoint(operators)
        self.tolerance = tolerance_for(operators, quantized=self._quantized)
        self._first_steps = _first_steps(model, self._name)
        self._notes += list(self._words_on_ends())

    def _choose_size(self) -> None:
        """Fill in the sides that the file leaves open but only go with one number."""
        if self._taken.height and self._taken.width:
            return
        size = f"{self._sized.height} × {self._sized.width}"
        if fits_only(self._model, self._name, self._sized):
            self._taken = self._sized
            self._notes.append(f"The file leaves the size of the images open, but only {size} goes through")
        else:
            self._notes.append(f"The file leaves the size of the images open; it was tried with {size}")

    def _words_on_ends(self) -> Iterator[str]:
        taken, first = self._taken, shown(self._outputs[0])
        if taken.layout == "NHWC":
            yield "It took images as NHWC, and takes them as NCHW now"
        if taken.dtype == "uint8":
            yield "It took pixels from 0 to 255 as uint8, and takes the same numbers as float32 now: mean 0 and std 1"
        if self._first_steps:
            steps = ", ".join(self._first_steps)
            yield f"Its first steps ({steps}) change the pixels themselves: check that they are not normalised twice"
        if len(self._outputs) > 1:
            yield f"Of its outputs {', '.join(map(shown, self._outputs))}, {first} is taken for the answer"
        if last := _PROBABILITIES.get(_last_step(self._model, self._outputs[0])):
            yield f"Its answers are {last}: how far variants differ is judged on these"
        if self._quantized:
            yield "It is quantized already"

    def tried(self) -> tuple[Floats, Floats]:
        """Images as float32 [N, C, H, W], and what the graph answers to each as it came."""
        channels, height, width = self._shape(1)[1:]
        images = trial_images(
            channels, height, width, macs=self._shapes.macs // self._batch, pixels=self._taken.dtype == "uint8"
        )
        content = self._model.SerializeToString()
        return images, answers_of_original(content, images, self._taken, batch=self._batch)

    def _shape(self, batch: int) -> tuple[int, ...]:
        """Of the images, as NCHW."""
        return input_shape(self._sized.model_copy(update={"layout": "NCHW"}), batch)

    def bring_to_form(self) -> None:
        """Rewrite the graph from `input` to `logits`, for any number of images."""
        model = self._model
        self._notes.append(form.in_newer_opset(model))
        form.constants_lifted(model)
        is_flat = len(self._shapes.known(self._outputs[0]) or ()) == 2
        form.with_ends(model, self._name, self._taken, self._outputs[0], self._classes, is_flat=is_flat)
        changed = for_any_batch(model, self._shape(self._batch))
        if self._taken.fixed_batch:
            made = "one image at a time" if self._batch == 1 else f"batches of {self._batch}"
            changes = f" ({changed} operator{'' if changed == 1 else 's'} changed for that)" if changed else ""
            self._notes.append(f"It was made for {made}, and takes any number now{changes}")
        if changed and not (self._taken.height and self._taken.width):
            self._keep_size()
        form.cut_to(model, "logits")
        if bounds := keep_within(model, self._shape(self._batch)):
            self._notes.append(_BOUNDED.format(f"{bounds} index{'' if bounds == 1 else 'es'}"))
        form.without_notes(model)

    def _keep_size(self) -> None:
        """Fix the size where the changes only fit the one that was tried."""
        if fits_only(self._model, "input", self._sized.model_copy(update={"layout": "NCHW"})):
            form.fix_size(self._model, *self._shape(1)[2:])
            self._taken = self._sized
            self._notes.append(f"Its images have {self._sized.height} × {self._sized.width} pixels from now on")

    def content(self) -> bytes:
        """The serialised graph."""
        content: bytes = self._model.SerializeToString()
        return content

    def facts(self) -> dict[str, Any]:
        """What `Graph` tells of it, but for its file."""
        graph = self._model.graph
        return {
            "notes": tuple(each for each in self._notes if each),
            "input": self._taken,
            "classes": self._classes,
            "outputs": tuple(map(shown, self._outputs)),
            "opset": self._opset,
            "producer": self._producer,
            "nodes": len(graph.node),
            "parameter_count": _parameter_count(self._model),
            "macs": shapes_of(self._model, {"input": self._shape(1)}).macs,
            "operators": dict(Counter(node.op_type for node in graph.node).most_common()),
            "quantized": self._quantized,
            "normalises": bool(self._first_steps),
            "metadata": self._metadata,
        }


def _parsed(content: bytes) -> ModelProto:
    try:
        model: ModelProto = ModelProto.FromString(content)
    except DecodeError:
        raise no_onnx() from None
    if not model.graph.node:
        raise no_onnx()
    model.DiscardUnknownFields()
    return model


def _parameter_count(model: ModelProto) -> int:
    """Numbers that were learned: floats, and integers that stand for them, without the scales of these."""
    scales = {name for node in model.graph.node if node.op_type in _QUANTIZED for name in node.input[1:3]}
    return sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if (tensor.data_type in FLOATS and tensor.dims and tensor.name not in scales)
        or (tensor.data_type in _INTEGERS and len(tensor.dims) > 1)
    )


def _first_steps(model: ModelProto, name: str) -> list[str]:
    """Operators right at the input that shift or scale whole channels by constants."""
    constants = {each.name: prod(each.dims) for each in model.graph.initializer}
    steps: list[str] = []
    while True:
        readers = [node for node in model.graph.node if name in node.input]
        if len(readers) != 1:
            return steps
        node = readers[0]
        others = [each for each in node.input if each and each != name]
        if node.op_type in _ARITHMETIC and others and all(constants.get(each, 4) <= 3 for each in others):
            steps.append(node.op_type)
        elif node.op_type not in ("Cast", "Transpose", "Identity"):
            return steps
        name = node.output[0]


def _last_step(model: ModelProto, name: str) -> str:
    """The operator that makes the answer, changes of shape and type aside."""
    makers: dict[str, NodeProto] = {each: node for node in model.graph.node for each in node.output}
    while name in makers and makers[name].op_type in ("Identity", "Cast", "Flatten", "Reshape", "Squeeze"):
        name = makers[name].input[0]
    return makers[name].op_type if name in makers else ""
