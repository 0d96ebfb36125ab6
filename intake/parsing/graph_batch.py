"""Makes a graph that was exported for one batch size take any.

Exporters write the batch size of their example into the sizes of `Reshape`, and leave constants of one image to be
concatenated with many. Both are found by working out all shapes for two batch sizes, and are replaced; whether the
result is right is for `graph_trial` to prove.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from core.errors import Refused
from intake.parsing.graph_checks import EXPORTED
from intake.parsing.graph_shapes import Mismatch, Shapes, shapes_of

TIMES = 3
"""How many times as many images it is tried with."""


def _one_batch_size(why: str) -> Refused:
    """That the file is for one batch size only."""
    return Refused(
        f"The file is made for one batch size only ({why.rstrip('.')})",
        expected="a graph that takes any number of images",
        action="Export it with a batch size that is left open",
        snippet=EXPORTED,
    )


def for_any_batch(model: ModelProto, shape: tuple[int, ...]) -> int:
    """Change the graph so that it takes any number of images instead of `shape`[0]; how many operators were changed.

    Raises `Refused` where that does not work.
    """
    changes = _Changes(model, shape)
    nodes = [each for node in model.graph.node for each in changes.made_of(node)]
    if changes.count:
        copies = [NodeProto.FromString(each.SerializeToString()) for each in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
        model.graph.initializer.extend(changes.constants)
    answer = changes.many.known("logits")
    if answer is None or answer[0] != shape[0] * TIMES or answer[1:] != (changes.one.known("logits") or ())[1:]:
        raise _one_batch_size("its answers do not grow with the batch")
    return changes.count


class _Changes:
    """Walks through a graph with the shapes of few images (`one`) and of many (`many`)."""

    def __init__(self, model: ModelProto, shape: tuple[int, ...]) -> None:
        self.one = shapes_of(model, {"input": shape})
        self.many = Shapes(model, {"input": (shape[0] * TIMES, *shape[1:])})
        self.constants: list[TensorProto] = []
        self.count = 0

    def made_of(self, node: NodeProto) -> Iterator[NodeProto]:
        """The node, changed where it has to be, after those that prepare what it takes."""
        before: list[NodeProto] = []
        original = node.SerializeToString()
        if node.op_type == "Gather":
            self._reshape_instead(node)
        if node.op_type == "Reshape":
            self._reshape(node)
        elif node.op_type == "Expand":
            self._expand(node)
        elif node.op_type == "Concat":
            before = list(self._repeated(node))
        self.count += node.SerializeToString() != original
        for each in (*before, node):
            try:
                if each in before:
                    self.one.step(each)
                self.many.step(each)
            except Mismatch as error:
                raise _one_batch_size(str(error)) from None
            yield each

    def _batch_axis(self, name: str) -> int | None:
        """The only side of a tensor that grows with the batch."""
        one, many = self.one.known(name), self.many.known(name)
        if one is None or many is None or len(one) != len(many):
            return None
        grown = [axis for axis, (few, more) in enumerate(zip(one, many, strict=True)) if few != more]
        return grown[0] if len(grown) == 1 and many[grown[0]] == TIMES * one[grown[0]] else None

    def _reshape_instead(self, node: NodeProto) -> None:
        """Where numbers of a list are picked one after the other, as exporters write `as_strided`, only their shape
        changes."""
        source, picked = self.one.known(node.input[0]), self.one.values.get(node.input[1])
        if self._batch_axis(node.input[0]) is None or source is None or picked is None or len(source) != 1:
            return
        if np.array_equal(picked.reshape(-1), np.arange(source[0])):
            node.op_type = "Reshape"
            node.input[1] = self._constant(list(picked.shape))
            _drop(node, "axis")

    def _reshape(self, node: NodeProto) -> None:
        """Copy the side with the batch where it stays where it is (0 says that), else let it follow from the others,
        which become the numbers that they are."""
        axis, source = self._batch_axis(node.input[0]), self.one.known(node.input[0])
        target = self.one.known(node.output[0])
        if axis is None or source is None or target is None:
            return
        before = prod(source[:axis])
        place = next((each for each in range(len(target)) if prod(target[:each]) == before), None)
        if place is None or self._gives(node, (*target[:place], target[place] * TIMES, *target[place + 1 :])):
            return
        sides = self.one.values.get(node.input[1])
        if sides is not None and place == axis and target[place] == source[axis] and (sides[:place] != 0).all():
            node.input[1] = self._constant([*sides[:place].tolist(), 0, *sides[place + 1 :].tolist()])
        else:
            node.input[1] = self._constant([*target[:place], -1, *target[place + 1 :]])
        _drop(node, "allowzero")

    def _gives(self, node: NodeProto, wanted: tuple[int, ...]) -> bool:
        """Whether a node makes that shape of many images as it is."""
        try:
            made = self.many.results(node)[node.output[0]].tensor_type.shape
        except Mismatch:
            return False
        return tuple(side.dim_value for side in made.dim) == wanted

    def _expand(self, node: NodeProto) -> None:
        """Where the batch size is one of the sides to expand to, it is already there."""
        axis, sides = self._batch_axis(node.input[0]), self.many.values.get(node.input[1])
        source = self.one.known(node.input[0])
        if axis is None or sides is None or source is None or source[axis] == 1:
            return
        place = axis + len(sides) - len(source)
        if 0 <= place < len(sides) and sides[place] == source[axis]:
            node.input[1] = self._constant([*sides[:place].tolist(), 1, *sides[place + 1 :].tolist()])

    def _repeated(self, node: NodeProto) -> Iterator[NodeProto]:
        """Repeat a constant of one image, like the class token of a transformer, as often as there are images."""
        along = next((each.i for each in node.attribute if each.name == "axis"), 0)
        leads = [(name, axis) for name in node.input if (axis := self._batch_axis(name)) is not None]
        if not leads:
            return
        lead, axis = leads[0]
        for place, name in enumerate(node.input):
            shape = self.one.known(name)
            if shape is None or shape != self.many.known(name) or along % len(shape) == axis or shape[axis] != 1:
                continue
            yield from self._expanded(node, place, lead, axis, len(shape))

    def _expanded(self, node: NodeProto, place: int, lead: str, axis: int, rank: int) -> Iterator[NodeProto]:
        base = f"any_batch_{len(self.constants)}"
        sides = [self._constant([1])] * rank
        sides[axis] = f"{base}_size"
        yield helper.make_node("Shape", [lead], [f"{base}_shape"], f"{base}_shape")
        picked = self._constant([axis])
        yield helper.make_node("Gather", [f"{base}_shape", picked], [f"{base}_size"], f"{base}_size", axis=0)
        yield helper.make_node("Concat", sides, [f"{base}_sides"], f"{base}_sides", axis=0)
        yield helper.make_node("Expand", [node.input[place], f"{base}_sides"], [f"{base}_repeated"], f"{base}_repeated")
        node.input[place] = f"{base}_repeated"

    def _constant(self, values: list[int]) -> str:
        """The name of a new constant of integers."""
        name = f"any_batch_sides_{len(self.constants)}"
        tensor = numpy_helper.from_array(np.array(values, np.int64), name)
        self.constants.append(tensor)
        for shapes in (self.one, self.many):
            shapes.add(tensor)
        return name


def _drop(node: NodeProto, name: str) -> None:
    kept = [each for each in node.attribute if each.name != name]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)
