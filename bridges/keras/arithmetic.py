"""Arithmetic on a network's tensors, `x / 127.5`, `x + y` or `tf.nn.relu(x)`, as layers of Keras 2 that do the same.

TensorFlow's toolkit prunes and rounds layers; what a network computes between them it cannot take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridges.keras.form import library

Numbers = NDArray[np.float64]
_OF_TENSORFLOW = {
    "__operators__.add": "Add",
    "__operators__.getitem": "GetItem",
    "__operators__.mul": "Multiply",
    "cast": "Cast",
    "math.add": "Add",
    "math.divide": "Divide",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.multiply": "Multiply",
    "math.negative": "Negative",
    "math.reduce_mean": "Mean",
    "math.sigmoid": "Sigmoid",
    "math.subtract": "Subtract",
    "math.tanh": "Tanh",
    "math.truediv": "Divide",
    "nn.bias_add": "Add",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.sigmoid": "Sigmoid",
    "nn.silu": "Silu",
    "nn.softmax": "Softmax",
}
"""How Keras 3 calls what a function of TensorFlow computes."""
_WORDS = {"Sigmoid": "sigmoid", "Silu": "swish", "Softmax": "softmax", "Tanh": "tanh"}
"""Activations, as Keras 2 calls them."""
_MERGING = ("Add", "Maximum", "Minimum", "Multiply", "Subtract")
_OPERANDS = ("x", "y", "x1", "x2", "bias", "slice_spec")
"""What arguments are called that are no settings."""
_ALL = {"start": None, "stop": None, "step": None}
"""How tf_keras writes the slice `:`."""
_WIDE = 4
"""Axes of x[N, H, W, C]."""


@dataclass(frozen=True)
class Channel:
    """One channel of a tensor, `x[..., index]`, of which only a `Stack` of all of them can be made."""

    tensor: Any
    index: int


def kind_of(operation: Any) -> str:
    """What is computed by an operation of Keras 3, or by a layer that tf_keras makes of a function, as Keras 3 calls
    it; empty for every layer that is one."""
    if isinstance(operation, library("keras").Operation):
        is_layer = isinstance(operation, library("keras").layers.Layer)
        name = "Divide" if type(operation).__name__ == "TrueDivide" else type(operation).__name__
        return "" if is_layer else name
    return _OF_TENSORFLOW.get(getattr(operation, "symbol", ""), "")


def as_layer(operation: Any, name: str) -> Callable[..., Any]:
    """What adds the layer of that name to tensors of tf_keras; it gives None where Keras 2 has no layer for it."""
    kind = kind_of(operation)

    def apply(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *(kwargs[key] for key in _OPERANDS if key in kwargs)]
        settings = vars(operation) | kwargs
        if kind == "GetItem":
            return _taken(*given)
        if kind == "Stack":
            return _of_channels(given[0], settings.get("axis"))
        if kind == "Concatenate" and all(is_tensor(each) for each in given[0]):
            return library("tf_keras").layers.Concatenate(settings["axis"], name=name)(list(given[0]))
        if kind == "Cast":
            dtype = args[1] if len(args) > 1 else settings.get("dtype")
            return given[0] if "float" in str(dtype) else None  # everything here is in float32
        if len(given) == 2:
            return _of_two(kind, given[0], given[1], name)
        return _of_one(kind, given[0], settings, name) if is_tensor(given[0]) else None

    return apply


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of the network that is being built, and no constant."""
    return hasattr(value, "_keras_history")


def _of_one(kind: str, x: Any, settings: Mapping[str, Any], name: str) -> Any:
    layers = library("tf_keras").layers
    if kind == "Negative":
        return layers.Rescaling(-1.0, name=name)(x)
    if kind in ("Relu", "Relu6"):
        return layers.ReLU(6.0 if kind == "Relu6" else None, name=name)(x)
    if kind == "ReLU":  # what keras.activations.relu makes
        return layers.ReLU(*(settings[key] for key in ("max_value", "negative_slope", "threshold")), name=name)(x)
    if kind in _WORDS:
        return layers.Activation(_WORDS[kind], name=name)(x)
    if kind == "LeakyRelu":
        return layers.LeakyReLU(settings["negative_slope"], name=name)(x)
    axis = settings.get("axis")
    if kind == "Mean" and len(x.shape) == _WIDE and isinstance(axis, list | tuple) and sorted(axis) == [1, 2]:
        return layers.GlobalAveragePooling2D(keepdims=bool(settings.get("keepdims")), name=name)(x)
    return None


def _of_two(kind: str, first: Any, second: Any, name: str) -> Any:
    layers = library("tf_keras").layers
    if is_tensor(first) and is_tensor(second):
        if kind not in _MERGING or len(first.shape) != len(second.shape):
            return None
        return getattr(layers, kind)(name=name)([first, second])
    x, value = (first, second) if is_tensor(first) else (second, first)
    found = _scaling(kind, _per_channel(value, x), is_first=x is first) if is_tensor(x) else None
    return layers.Rescaling(*(_plain(each) for each in found), name=name)(x) if found else None


def _per_channel(value: Any, x: Any) -> Numbers | None:
    """A constant as a number, or as one for each channel of x; None where it is anything else."""
    try:
        constant = np.asarray(value, np.float64)
    except (TypeError, ValueError, NotImplementedError):
        return None
    if constant.size == 1:
        return constant.reshape(())
    return constant.ravel() if constant.ndim and constant.size == constant.shape[-1] == x.shape[-1] else None


def _scaling(kind: str, value: Numbers | None, *, is_first: bool) -> tuple[Numbers, Numbers] | None:
    """`scale` and `offset` of `scale * x + offset`; `is_first` tells whether x stands before the constant."""
    if value is None:
        return None
    one, zero = np.ones(()), np.zeros(())
    if kind == "Add":
        return one, value
    if kind == "Subtract":
        return (one, -value) if is_first else (-one, value)
    if kind == "Multiply":
        return value, zero
    return (1 / value, zero) if kind == "Divide" and is_first and value.all() else None


def _plain(value: Numbers) -> Any:
    return value.tolist()


def _taken(x: Any, key: Any) -> Any:
    """`x[..., 2]`, as blue is taken of RGB, or `x[..., ::-1]`, which makes BGR of it; None for any other part of x."""
    if not is_tensor(x) or not isinstance(key, list | tuple) or len(x.shape) != _WIDE:
        return None
    *before, last = (_slice(each) for each in key)
    if before not in ([Ellipsis], [slice(None)] * 3):
        return None
    if isinstance(last, int):
        return Channel(x, last)
    return turned(x) if last == slice(None, None, -1) else None


def _slice(part: Any) -> Any:
    return slice(part["start"], part["stop"], part["step"]) if isinstance(part, dict) else part


def turned(x: Any) -> Any:
    """x[N, H, W, C] with its channels in the opposite order."""
    return x[:, :, :, ::-1]


def is_turn(layer: Any) -> bool:
    """Whether a layer does what `turned` does."""
    if type(layer).__name__ != "SlicingOpLambda" or len(layer.inbound_nodes) != 1:
        return False
    node = layer.inbound_nodes[0]
    key = node.call_kwargs.get("slice_spec") or node.call_args[-1]
    return list(key) == [_ALL, _ALL, _ALL, _ALL | {"step": -1}]


def _of_channels(channels: Any, axis: Any) -> Any:
    """All channels of a tensor in the opposite order, which makes BGR of RGB; None for anything else."""
    if axis != -1 or not all(isinstance(each, Channel) for each in channels):
        return None
    x = channels[0].tensor
    order = [each.index % x.shape[-1] for each in channels if each.tensor is x]
    return turned(x) if order == list(range(x.shape[-1]))[::-1] and len(order) == len(channels) else None
