"""How much there is to compute in one operator.

Imports onnx: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

from onnx import NodeProto, helper

COPYING = 128
"""Multiply-accumulates in the time that it takes to copy a number to somewhere else and to read it there."""
_CONVOLUTIONS = frozenset(("Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "DeformConv"))
Known: TypeAlias = Callable[[str], "tuple[int, ...] | None"]
"""Tells the shape of a tensor, or None."""


def attribute_of(node: NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute, or `default` where it is not set."""
    found = next((each for each in node.attribute if each.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def macs_of(node: NodeProto, known: Known) -> int:
    """Multiply-accumulates of a node, as torch counts them; 0 where its shapes are not known."""
    taken = [known(name) for name in node.input]
    made = known(node.output[0])
    if made is None or not taken or taken[0] is None:
        return 0
    weight = {"QLinearConv": 3, "QLinearMatMul": 3}.get(node.op_type, 1)
    second = taken[weight] if len(taken) > weight else None
    if node.op_type == "Einsum":
        return _einsum_macs(node, taken)
    if second is None or not second:
        return 0
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        return prod(made) * prod(second[1:])
    if node.op_type == "ConvTranspose":
        return prod(taken[0]) * prod(second[1:])
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return prod(made) * taken[0][-1]
    if node.op_type == "Gemm":
        return prod(made) * taken[0][0 if attribute_of(node, "transA", 0) else -1]
    if node.op_type == "Attention":
        return 2 * prod(taken[0]) * second[-2]
    return 0


def _einsum_macs(node: NodeProto, taken: Sequence[tuple[int, ...] | None]) -> int:
    """Every letter of the equation is a loop."""
    letters = attribute_of(node, "equation", b"").decode().replace(" ", "").partition("->")[0].split(",")
    sides = {
        letter: side
        for term, shape in zip(letters, taken, strict=False)
        if shape is not None and len(term) == len(shape)
        for letter, side in zip(term, shape, strict=True)
    }
    return prod(sides.values()) if len(taken) > 1 else 0


def other_work(node: NodeProto, known: Known) -> int:
    """What takes about as long as so many multiply-accumulates, beside those that are counted.

    Numbers that a pooling looks at; steps of a recurrent layer; and the copies that a convolution makes of its input,
    one for each place of its kernel, which wait for the memory.
    """
    made, taken = known(node.output[0]), [known(name) or () for name in node.input]
    if "Pool" in node.op_type:
        return prod(made or ()) * prod(attribute_of(node, "kernel_shape", ())) if made else 0
    if node.op_type in ("LSTM", "GRU", "RNN") and len(taken) > 2:
        return prod(taken[0][:2]) * (prod(taken[1]) + prod(taken[2]))
    weight = taken[3 if node.op_type == "QLinearConv" else 1] if len(taken) > 1 else ()
    if node.op_type not in _CONVOLUTIONS or not made or len(made) < 3 or len(weight) != len(made):
        return 0
    if (window := prod(weight[2:])) == 1:
        return 0
    if node.op_type == "ConvTranspose":
        return COPYING * window * made[1] * prod(taken[0][2:]) * made[0]
    return COPYING * window * taken[0][1] * prod(made[2:]) * made[0]
