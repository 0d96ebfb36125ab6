"""Networks made fit for being rounded in training: TensorFlow's toolkit has no rule for some of what people build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bridges.keras.rebuilding import Builder, called, graph_of, producer, rebuilt
from core.data import Floats

_MERGED_WITH = ("Conv2D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Dense")
"""Layers that the toolkit merges a BatchNorm into, where nothing comes between the two."""
_IMAGES, _VECTORS = 4, 2
"""Dimensions of x[N, H, W, C] and of x[N, C]."""


def roundable(model: Any) -> tuple[Any, tuple[str, ...]]:
    """A flat network of tf_keras that computes the same as the given one, with layers that the toolkit can round.

    Each BatchNorm that merges with no layer before it is a depthwise 1x1 convolution from then on, with the statistics
    that it had; the names of these come back too. Averages that are concatenated pass through such a convolution that
    changes nothing, because the converter gives up on one that shares its scale with what it is concatenated to. Where
    there is nothing to change, it is the given network.
    """
    users = _users(model)
    lone = {id(norm): norm for norm in _lone_norms(users)}
    averages = {id(layer) for layer in model.layers if _is_concatenated(layer, users)}
    if not lone and not averages:
        return model, ()
    builder = _Builder(
        "tf_keras",
        lambda operation, settings: settings,
        lambda operation, weights: _as_convolution(operation) if id(operation) in lone else weights,
        lone=lone,
        averages=averages,
    )
    return rebuilt(model, builder, tuple(model.input_shape[1:])), tuple(norm.name for norm in lone.values())


@dataclass
class _Builder(Builder):
    """Puts convolutions in the place of lone BatchNorms, and behind averages that are concatenated."""

    lone: Mapping[int, Any] = field(default_factory=dict)
    averages: set[int] = field(default_factory=set)

    def call(self, operation: Any, args: Any, kwargs: Any) -> Any:
        from tf_keras.layers import DepthwiseConv2D, Reshape

        if id(operation) in self.averages:
            passed = DepthwiseConv2D(
                1, use_bias=False, depthwise_initializer="ones", trainable=False, name=self._unused("passed_on")
            )
            return passed(super().call(operation, args, kwargs))
        if id(operation) not in self.lone:
            return super().call(operation, args, kwargs)
        if id(operation) not in self.made:
            new = DepthwiseConv2D(1, name=self._unused(operation.name), trainable=operation.trainable)
            self.made[id(operation)] = (operation, new)
        convolution, x = self.made[id(operation)][1], args[0]
        if len(x.shape) == _IMAGES:
            return convolution(x)
        channels = x.shape[-1]
        return Reshape((channels,))(convolution(Reshape((1, 1, channels))(x)))


def _as_convolution(norm: Any) -> list[Floats]:
    """The kernel[1, 1, C, 1] and the bias[C] of the convolution."""
    mean, variance = (np.asarray(each, np.float64) for each in (norm.moving_mean, norm.moving_variance))
    scale = (1.0 if norm.gamma is None else np.asarray(norm.gamma, np.float64)) / np.sqrt(variance + norm.epsilon)
    shift = (0.0 if norm.beta is None else np.asarray(norm.beta, np.float64)) - mean * scale
    return [np.asarray(scale, np.float32).reshape(1, 1, -1, 1), np.asarray(shift, np.float32)]


def _users(model: Any) -> list[tuple[Any, list[Any]]]:
    """Each operation of the network, in order and as often as it is called, with what it is given."""
    import tensorflow as tf

    levels = sorted(graph_of(model)._nodes_by_depth.items(), reverse=True)
    nodes = [node for _, level in levels for node in level if not node.is_input]
    return [(called(node)[0], tf.nest.flatten(called(node)[1:])) for node in nodes]


def _lone_norms(users: list[tuple[Any, list[Any]]]) -> Iterator[Any]:
    for norm, (x, *_) in users:
        if _is_of_channels(norm, x):
            times = sum(each is x for _, given in users for each in given)
            if times > 1 or not _is_merged_into(producer(x)):
                yield norm


def _is_of_channels(layer: Any, x: Any) -> bool:
    """Whether it is a BatchNorm that scales each channel of images or vectors."""
    if type(layer).__name__ != "BatchNormalization":
        return False
    last = len(x.shape) - 1
    return last + 1 in (_IMAGES, _VECTORS) and list(np.atleast_1d(layer.axis)) in ([last], [-1])


def _is_merged_into(layer: Any) -> bool:
    return type(layer).__name__ in _MERGED_WITH and getattr(layer.activation, "__name__", "") == "linear"


def _is_concatenated(layer: Any, users: list[tuple[Any, list[Any]]]) -> bool:
    return type(layer).__name__ == "AveragePooling2D" and any(
        type(user).__name__ == "Concatenate" and any(producer(each) is layer for each in given) for user, given in users
    )
