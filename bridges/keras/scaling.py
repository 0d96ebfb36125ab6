"""How pixels are scaled where a network begins, as the numbers that an input contract has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridges.keras.arithmetic import is_turn
from bridges.keras.converting import LARGEST_DIFFERENCE, answers, random_inputs
from bridges.keras.form import api_of
from bridges.keras.rebuilding import Builder, called, graph_of, rebuilt

Numbers = NDArray[np.float64]
_KEEPS_CHANNELS = ("AveragePooling2D", "Cropping2D", "Dropout", "MaxPooling2D", "ZeroPadding2D")
"""Layers that may stand before the first convolution, and treat each channel alike."""
_EACH_CHANNEL: tuple[Any, ...] = (None, (), [], -1, 3, [3], [-1], (3,), (-1,))
"""Along which axis a Normalization has numbers of its own: that of channels, or none."""
_SMALLEST_SPREAD = 1e-7
"""That Keras divides by at least."""


def without_scaling(model: Any) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A flat network, as `house_form` gives it, without the layers that scale pixels at its beginning; mean and std.

    The new network answers to (x - mean) / std, a number a channel, as the given one does to x; the two were compared.
    Where it also turns RGB into BGR there, its first convolution is turned round instead. TensorFlow's toolkit can
    round a network in training only without such layers. Where there are none, or where what they do is no scaling of
    each channel, it is the given network, with mean 0 and std 1.
    """
    channels = int(model.input_shape[-1])
    unchanged = model, (0.0,) * channels, (1.0,) * channels
    opening = _opening(model)
    if not opening.layers or (opening.turns and opening.convolution is None):
        return unchanged
    scale, offset = np.ones(channels), np.zeros(channels)
    for layer in opening.layers:
        if is_turn(layer):
            scale, offset = scale[::-1], offset[::-1]
        else:
            times, plus = _scaling(layer)
            scale, offset = scale * times, offset * times + plus
    if opening.turns:
        scale, offset = scale[::-1], offset[::-1]
    mean, std = 0.0 - offset / scale, 1 / scale
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        return unchanged
    builder = Builder(
        api_of(model),
        lambda operation, settings: None if operation in opening.layers else settings,
        lambda operation, weights: _turned(weights) if opening.turns and operation is opening.convolution else weights,
    )
    new = rebuilt(model, builder, tuple(model.input_shape[1:]))
    return (new, tuple(mean.tolist()), tuple(std.tolist())) if _answers_alike(model, new, mean, std) else unchanged


@dataclass(frozen=True)
class _Opening:
    """How a network begins."""

    layers: list[Any]
    """Those that scale pixels or turn their channels round, as long as nothing else uses what goes into one."""
    convolution: Any
    """The first one after them, if nothing before it mixes channels."""

    @property
    def turns(self) -> bool:
        """Whether the channels come to the convolution in the opposite order."""
        return sum(is_turn(layer) for layer in self.layers) % 2 == 1


def _opening(model: Any) -> _Opening:
    import tensorflow as tf

    graph = graph_of(model)
    nodes = [node for level in graph._nodes_by_depth.values() for node in level if not node.is_input]
    found: list[Any] = []
    tensor, passed = graph.inputs[0], False
    while True:
        users = [node for node in nodes if any(each is tensor for each in tf.nest.flatten(called(node)[1:]))]
        if len(users) != 1:
            return _Opening(found, None)
        layer = called(users[0])[0]
        if not passed and (is_turn(layer) or _scaling(layer) is not None):
            found.append(layer)
        elif type(layer).__name__ in _KEEPS_CHANNELS:
            passed = True
        else:
            return _Opening(found, layer if type(layer).__name__ == "Conv2D" and layer.groups == 1 else None)
        tensor = tf.nest.flatten(users[0].outputs)[0]


def _turned(weights: list[Any]) -> list[Any]:
    """Of a convolution, the same with the channels that it takes in the opposite order."""
    kernel, *others = weights
    return [kernel[:, :, ::-1], *others]


def _scaling(layer: Any) -> Any:
    """`times` and `plus` where the layer gives `times * x + plus`, a number for all channels or for each; or None."""
    settings = layer.get_config()
    if type(layer).__name__ == "Rescaling":
        return np.asarray(settings["scale"], float), np.asarray(settings["offset"], float)
    if type(layer).__name__ == "Normalization" and settings.get("axis", -1) in _EACH_CHANNEL:
        mean, variance = (np.asarray(each, float).ravel() for each in (layer.mean, layer.variance))
        spread = np.maximum(np.sqrt(variance), _SMALLEST_SPREAD)
        return (spread, mean) if settings.get("invert") else (1 / spread, -mean / spread)
    return None


def _answers_alike(model: Any, new: Any, mean: Numbers, std: Numbers) -> bool:
    """To pixels between 0 and 255 and to what they become."""
    x = np.asarray(127.5 + 64 * random_inputs(model), np.float32)
    wanted, given = answers(model, x), answers(new, np.asarray((x - mean) / std, np.float32))
    return float(np.abs(wanted - given).max()) <= LARGEST_DIFFERENCE * max(1e-6, float(np.abs(wanted).max()))
