"""Keeps every place that a graph picks numbers from inside the tensor it picks them from, whatever the image.

ONNX Runtime looks at each index while it computes; other engines read, or write, wherever it says. A place that is
known beforehand is looked at here; one that is worked out on the way is held within bounds by two operators more.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from core.errors import Refused
from intake.parsing.graph_checks import named
from intake.parsing.graph_macs import attribute_of
from intake.parsing.graph_order import read_by
from intake.parsing.graph_shapes import Shapes

_PICKING = frozenset(("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND"))
"""Operators whose second input says where in the first they read or write."""
_FIXED_ONLY: Mapping[str, tuple[int, ...]] = {
    "RoiAlign": (1, 2), "MaxRoiPool": (1,), "MaxUnpool": (1,), "ReverseSequence": (1,), "TensorScatter": (2,),
    "RotaryEmbedding": (3,), "Attention": (6,), "LSTM": (4,), "GRU": (4,), "RNN": (4,), "TopK": (1,), "CumSum": (1,),
    "NegativeLogLikelihoodLoss": (1,), "SoftmaxCrossEntropyLoss": (1,),
}  # fmt: skip
"""Inputs with places or lengths that no classifier works out from its image."""


def keep_within(model: ModelProto, shape: tuple[int, ...]) -> int:
    """Hold all indices within bounds in a graph from `input`, tried with that shape; how many were given bounds.

    Raises `Refused` for operators whose indices have to be fixed and are not.
    """
    walk = _Walk.through(model, shape)
    nodes = [each for node in model.graph.node for each in walk.made_of(node)]
    if walk.count:
        copies = [NodeProto.FromString(each.SerializeToString()) for each in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
        model.graph.initializer.extend(walk.constants.values())
    return walk.count


@dataclass
class _Walk:
    tried: Shapes
    """For the shape that the graph was tried with."""
    always: Shapes
    """What holds for any number and size of images."""
    fixed: dict[str, TensorProto | None]
    """What depends on no input, with its numbers where the file holds them."""
    constants: dict[str, TensorProto] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def through(cls, model: ModelProto, shape: tuple[int, ...]) -> _Walk:
        sides = model.graph.input[0].type.tensor_type.shape.dim
        open_shape = [side.dim_value if side.HasField("dim_value") else None for side in sides]
        fixed = {each.name: each for each in model.graph.initializer}
        return cls(Shapes(model, {"input": shape}), Shapes(model, {"input": open_shape}), {**fixed})

    def made_of(self, node: NodeProto) -> list[NodeProto]:
        """The node, with bounds before its indices where it needs them."""
        before: list[NodeProto] = []
        if node.op_type in _PICKING:
            before = self._bounded(node)
        for place in _FIXED_ONLY.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] and node.input[place] not in self.fixed:
                raise Refused(
                    f"{named(node)} works out from the image where it reads",
                    expected="places that are fixed",
                    action="Export the network without it",
                )
        if all(name in self.fixed for name in read_by(node)):
            self.fixed.update(dict.fromkeys(node.output))
        for each in (*before, node):
            self.tried.step(each)
            self.always.follow(each)
        return [*before, node]

    def _bounded(self, node: NodeProto) -> list[NodeProto]:
        data, index = node.input[0], node.input[1]
        if (known := self.tried.known(data)) is None:
            raise Refused(
                f"How large the tensor is that {named(node)} picks from depends on the image",
                expected="sizes that are known beforehand",
                action="Export it for images of one size",
            )
        sides = _sides_of(node, len(known), self.tried.known(index))
        if self._is_inside(data, index, sides):
            return []
        self.count += 1
        base = f"within_{self.count}"
        made = [
            *self._numbers_of(data, sides, base),
            helper.make_node("Sub", [f"{base}_sides", self._constant(1)], [f"{base}_last"], f"{base}_last"),
            helper.make_node("Cast", [index], [f"{base}_whole"], f"{base}_whole", to=TensorProto.INT64),
            helper.make_node("Min", [f"{base}_whole", f"{base}_last"], [f"{base}_below"], f"{base}_below"),
        ]
        first = self._constant(0)
        if index in self.fixed:  # which may count from the end
            first = f"{base}_first"
            made.append(helper.make_node("Neg", [f"{base}_sides"], [first], first))
        made.append(helper.make_node("Max", [f"{base}_below", first], [base], base))
        node.input[1] = base
        return made

    def _is_inside(self, data: str, index: str, sides: tuple[int, ...] | int) -> bool:
        """Whether an index is seen to stay inside: it is fixed, and so are the sides, or it is the first or last."""
        if index not in self.fixed:
            return False
        tensor = self.fixed[index]
        values: NDArray[np.int64] | None = (
            self.tried.values.get(index) if tensor is None else numpy_helper.to_array(tensor)
        )
        if values is None:
            return False
        if ((values == 0) | (values == -1)).all():
            return True
        shape = self.always.shape(data)
        found = None if shape is None else [shape[each] for each in ((sides,) if isinstance(sides, int) else sides)]
        if found is None or None in found:
            return False
        limits = np.array(found, np.int64)
        return bool(((values >= -limits) & (values < limits)).all())

    def _numbers_of(self, data: str, sides: tuple[int, ...] | int, base: str) -> list[NodeProto]:
        """Operators that tell how long those sides are, as `..._sides`: one number, or one for each."""
        return [
            helper.make_node("Shape", [data], [f"{base}_shape"], f"{base}_shape"),
            helper.make_node(
                "Gather", [f"{base}_shape", self._constant(sides)], [f"{base}_sides"], f"{base}_sides", axis=0
            ),
        ]

    def _constant(self, value: tuple[int, ...] | int) -> str:
        name = "within_" + "_".join(map(str, np.atleast_1d(value))) + ("_of" if isinstance(value, tuple) else "_alone")
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(value, np.int64), name)
            self.tried.add(self.constants[name])
            self.always.add(self.constants[name])
        return name


def _sides_of(node: NodeProto, rank: int, index: tuple[int, ...] | None) -> tuple[int, ...] | int:
    """Which side of its data an operator picks from; those of each place of an index of several."""
    if not node.op_type.endswith("ND"):
        return int(attribute_of(node, "axis", 0)) % max(rank, 1)
    first = int(attribute_of(node, "batch_dims", 0))
    if not index:
        raise Refused(f"How many places {named(node)} picks depends on the image", expected="a fixed number of them")
    return tuple(range(first, first + index[-1]))
