"""How many multiply-accumulates an operation of ATen takes. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch._ops import OpOverload


def multiplications(func: OpOverload, args: Sequence[Any], result: Any) -> int:
    """Multiply-accumulates of one call in convolutions, matrix products, attention and LSTMs; 0 for all else.

    Every one that an implementation without shortcuts would do, those with padding and masked places included: what
    fvcore and torch's own counter mean by it, too.
    """
    name = str(func.overloadpacket)
    if name.startswith(_ATTENTION) and "backward" not in name:
        return _attention(args)
    count = _COUNTS.get(name)
    return count(args, result) if count else 0


def _convolution(args: Sequence[Any], result: Tensor) -> int:
    """Each output value takes one product with every weight of its channel; transposed, each input value does."""
    x, weight, transposed = args[0], args[1], args[6]
    return int((x if transposed else result).numel() * weight[0].numel())


def _product(left: int) -> Callable[[Sequence[Any], Any], int]:
    """Of matrices [..., m, k] and [..., k, n], which are the arguments from number `left` on."""

    def count(args: Sequence[Any], _result: Any) -> int:
        return int(args[left].numel() * args[left + 1].shape[-1])

    return count


def _vector_product(left: int) -> Callable[[Sequence[Any], Any], int]:
    """Of a matrix [m, k], or a vector, and a vector [k]: argument number `left` and the next one."""

    def count(args: Sequence[Any], _result: Any) -> int:
        return int(args[left].numel())

    return count


def _lstm(args: Sequence[Any], _result: Any) -> int:
    """One direction of one layer, fused on CPUs: at each of the places x[t, n, i] one product with every weight."""
    x, from_input, from_hidden = args[:3]
    return int(x[..., 0].numel() * (from_input.numel() + from_hidden.numel()))


def _bilinear(args: Sequence[Any], _result: Any) -> int:
    """Of x[n, i], weight[o, i, j] and y[n, j]: x times the weight, then that times y."""
    x, weight, y = args[:3]
    return int(len(x) * (weight.numel() + weight.shape[0] * y.shape[-1]))


def _attention(args: Sequence[Any]) -> int:
    """Of queries [..., s, d], keys [..., t, d] and values [..., t, e]: scores, then their sums over the values."""
    query, key, value = args[:3]
    scores = query[..., 0].numel() * key.shape[-2]
    return int(scores * (query.shape[-1] + value.shape[-1]))


_ATTENTION = "aten._scaled_dot_product_"
_COUNTS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "aten.convolution": _convolution,
    "aten._convolution": _convolution,
    "aten.mm": _product(0),
    "aten.bmm": _product(0),
    "aten.addmm": _product(1),
    "aten.baddbmm": _product(1),
    "aten.addbmm": _product(1),
    "aten.mv": _vector_product(0),
    "aten.dot": _vector_product(0),
    "aten.addmv": _vector_product(1),
    "aten.mkldnn_rnn_layer": _lstm,
    "aten._trilinear": _bilinear,
}
