"""How large every result of a graph is, and how much there is to compute, told without running it.

Goes from operator to operator with ONNX's own rules for shapes (`onnx.shape_inference.infer_node_outputs`), and works
out the small numbers that later shapes are made of. Nothing larger than `LARGEST_FOLDED` is ever built.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper, shape_inference

from core.errors import Refused
from intake.parsing.graph_checks import named, opset_of
from intake.parsing.graph_macs import attribute_of, macs_of, other_work
from intake.parsing.graph_order import read_by

Shape: TypeAlias = tuple[int | None, ...]
LARGEST_RESULT = 2**27
"""Numbers of one result: 512 MiB in FP32."""
MOST_RESULTS = 2**31
"""Numbers of all results together."""
MOST_MACS = 3 * 10**11
"""Multiplications of one image; the largest models of torchvision have a third of it."""
LARGEST_FOLDED = 4096
"""Numbers of a tensor that is worked out."""
_SIZED = {
    "ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "Range": (0, 1), "Resize": (1, 2, 3), "Upsample": (1,),
    "Pad": (1,), "OneHot": (1,), "MaxUnpool": (2,), "CenterCropPad": (1,), "AffineGrid": (1,), "Col2Im": (1, 2),
    "HannWindow": (0,), "HammingWindow": (0,), "BlackmanWindow": (0,), "MelWeightMatrix": (0, 1, 2), "DFT": (1,),
}  # fmt: skip
"""Operators whose results can be far larger than what they take, and their inputs that tell how large."""
_FOLDED = frozenset((
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten", "Floor",
    "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg",
    "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Slice", "Split",
    "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip
"""Operators that shapes are worked out with."""
_AS_LARGE = frozenset(("MeanVarianceNormalization",))
"""Operators without a rule of their own, whose result is as large as what they take."""
_FAILURES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
_REFUSALS: tuple[type[Exception], ...] = (
    shape_inference.InferenceError,
    onnx.defs.SchemaError,
    onnx.checker.ValidationError,
    *_FAILURES,
)


class Mismatch(Exception):
    """An operator that cannot take what it is given."""


class Shapes:
    """The shapes of a graph for one input of so many images, filled by `step` in the order of its operators.

    `macs` counts the multiply-accumulates so far in convolutions and matrix products, as torch's counter does.
    """

    def __init__(self, model: ModelProto, inputs: Mapping[str, Sequence[int | None]]) -> None:
        self._types: dict[str, TypeProto] = {}
        self.values: dict[str, NDArray[Any]] = {}
        self._constants: dict[str, TensorProto] = {}
        self._opset = opset_of(model)
        self._imports = [helper.make_opsetid("", self._opset)]
        self._images = max(1, next(iter(inputs.values()))[0] or 1)
        self._varying = set(inputs)
        """Names of what depends on the images."""
        self.macs = self._work = self._results = self._grown = 0
        for tensor in model.graph.initializer:
            self.add(tensor)
        for value in model.graph.input:
            if value.name in inputs:
                kind = value.type.tensor_type.elem_type
                self._types[value.name] = helper.make_tensor_type_proto(kind, list(inputs[value.name]))

    def add(self, tensor: TensorProto) -> None:
        """One more constant."""
        self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        if prod(tensor.dims) <= LARGEST_FOLDED:
            self._keep(tensor.name, numpy_helper.to_array(tensor))

    def shape(self, name: str) -> Shape | None:
        """None where it is not known."""
        kind = self._types.get(name)
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        return tuple(side.dim_value if side.HasField("dim_value") else None for side in kind.tensor_type.shape.dim)

    def known(self, name: str) -> tuple[int, ...] | None:
        """The shape where all of it is known."""
        shape = self.shape(name)
        sides = tuple(side for side in shape or () if side is not None)
        return sides if shape is not None and len(sides) == len(shape) else None

    def kind(self, name: str) -> int:
        """The type of its numbers, as `TensorProto` counts them; 0 where it is not known."""
        return self._types[name].tensor_type.elem_type if name in self._types else 0

    def step(self, node: NodeProto) -> None:
        """Add what a node makes. Raises `Refused` for what is too large, `Mismatch` for what does not fit."""
        self._check_sizes(node)
        self._types.update(self.results(node))
        if not self._varying.isdisjoint(read_by(node)):
            self._varying.update(node.output)
        for name in filter(None, node.output):
            self._check_size(node, name)
        self._count(node)
        self._fold(node)

    def follow(self, node: NodeProto) -> None:
        """Add what can be told of what a node makes, where sides of the input are open: nothing is too large here."""
        with suppress(Mismatch):
            self._types.update(self.results(node))
            self._fold(node)

    def results(self, node: NodeProto) -> dict[str, TypeProto]:
        """The types of what a node makes, as far as they can be told. Raises `Mismatch`."""
        names = list(dict.fromkeys(read_by(node)))
        unknown = {name: TypeProto() for name in names if name not in self._types}
        types = {name: self._types[name] for name in names if name not in unknown}
        data = {name: self._constants[name] for name in names if name in self._constants}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opset, "")
            found = shape_inference.infer_node_outputs(
                schema, node, types | unknown, data, opset_imports=self._imports, ir_version=10
            )
        except _REFUSALS as error:
            raise Mismatch(f"{named(node)} does not fit what it is given ({_in_short(error)})") from error
        if node.op_type in _AS_LARGE and names[0] in self._types:
            found[node.output[0]] = self._types[names[0]]
        return {name: kind for name, kind in found.items() if name}

    def _check_sizes(self, node: NodeProto) -> None:
        """Before ONNX multiplies them, which overflows."""
        for place in _SIZED.get(node.op_type, ()):
            value = self.values.get(node.input[place]) if place < len(node.input) else None
            if value is None or not value.size or value.dtype.kind not in "iuf":
                continue
            sides = [int(abs(each)) if np.isfinite(each) else LARGEST_RESULT + 1 for each in value.reshape(-1)]
            multiplied = node.op_type in ("ConstantOfShape", "Expand")
            count = prod(side for side in sides if side) if multiplied else max(sides)
            if max(count, *sides) > LARGEST_RESULT * self._images:
                raise _too_large(node, count)

    def _check_size(self, node: NodeProto, name: str) -> None:
        shape = self.known(name)
        if shape is None:
            if node.op_type in _SIZED:
                raise Refused(
                    f"How large the result of {named(node)} is depends on the image",
                    expected="sizes that are known beforehand",
                    action="Export it for images of one size",
                )
            return
        count = prod(shape)
        if count > LARGEST_RESULT * self._images or any(side < 0 for side in shape):
            raise _too_large(node, count)
        self._results += count
        if name not in self._varying:
            self._grown += max(0, count - sum(prod(self.known(each) or ()) for each in read_by(node)))
        if self._results > MOST_RESULTS * self._images or self._grown > LARGEST_RESULT:
            what = f"{self._results:,} numbers for one image" if self._images == 1 else f"{self._results:,} numbers"
            raise Refused(f"{named(node)} brings the graph to {what}", expected="a network that makes fewer on its way")

    def _count(self, node: NodeProto) -> None:
        macs = macs_of(node, self.known)
        self.macs += macs
        self._work += macs + other_work(node, self.known)
        if self._work > MOST_MACS * self._images:
            raise Refused(
                f"{named(node)} brings the graph to {self._work // self._images:,} multiplications for one image, "
                "or what takes as long",
                expected=f"at most {MOST_MACS:,}",
            )

    def _fold(self, node: NodeProto) -> None:
        if node.op_type in ("Shape", "Size") and (shape := self.known(node.input[0])) is not None:
            start, end = (attribute_of(node, name, default) for name, default in (("start", 0), ("end", None)))
            value = np.array(shape[start:end] if node.op_type == "Shape" else prod(shape), np.int64)
            return self._keep(node.output[0], value)
        if node.op_type not in _FOLDED or not all(name in self.values for name in node.input if name):
            return None
        shapes = [self.known(name) for name in node.output]
        if all(shape is not None and prod(shape) <= LARGEST_FOLDED for shape in shapes):
            for name, value in zip(node.output, self._evaluated(node), strict=False):
                self._keep(name, value)
        return None

    def _evaluated(self, node: NodeProto) -> list[NDArray[Any]]:
        """Its results in numpy; none where ONNX's reference cannot tell."""
        from onnx.reference import ReferenceEvaluator

        try:
            with np.errstate(all="ignore"):
                made = ReferenceEvaluator(node, opsets={"": self._opset}).run(
                    None, {name: self.values[name] for name in node.input if name}
                )
        except _FAILURES:
            return []
        return [np.asarray(each) for each in made]

    def _keep(self, name: str, value: NDArray[Any]) -> None:
        self.values[name] = value
        self._constants[name] = numpy_helper.from_array(value, name)


def shapes_of(model: ModelProto, inputs: Mapping[str, Sequence[int]]) -> Shapes:
    """The shapes of all that a graph makes. Raises `Refused` and `Mismatch` as `Shapes.step` does."""
    shapes = Shapes(model, inputs)
    for node in model.graph.node:
        shapes.step(node)
    return shapes


def _too_large(node: NodeProto, count: int) -> Refused:
    return Refused(
        f"{named(node)} makes a tensor of {count:,} numbers"
        if count > 0
        else f"{named(node)} makes an impossible tensor",
        expected=f"at most {LARGEST_RESULT:,}",
    )


def _in_short(error: Exception) -> str:
    """The last line of an error of ONNX, without the marks of its sources."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].rpartition("] ")[2][:160].rstrip(". ")
