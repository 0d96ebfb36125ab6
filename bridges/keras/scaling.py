"""How pixels are scaled where a network begins, as the numbers that an input contract has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridges.keras.converting import LARGEST_DIFFERENCE, answers, random_inputs
from bridges.keras.form import api_of
from bridges.keras.rebuilding import Builder, called, graph_of, rebuilt

Numbers = NDArray[np.float64]
_SMALLEST_SPREAD = 1e-7
"""That Keras divides by at least."""


def without_scaling(model: Any) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """A flat network, as `house_form` gives it, without the layers that scale pixels at its beginning; mean and std.

    The new network answers to (x - mean) / std, a number a channel, as the given one does to x; the two were compared.
    TensorFlow's toolkit can round a network in training only without such layers. Where there are none, or where what
    they do is no scaling of each channel, it is the given network, with mean 0 and std 1.
    """
    channels = int(model.input_shape[-1])
    scale, offset = np.ones(channels), np.zeros(channels)
    layers = _at_the_beginning(model)
    for layer in layers:
        times, plus = _scaling(layer)
        scale, offset = scale * times, offset * times + plus
    mean, std = 0.0 - offset / scale, 1 / scale
    if not layers or not (np.isfinite(mean).all() and np.isfinite(std).all()):
        return model, (0.0,) * channels, (1.0,) * channels
    builder = Builder(api_of(model), lambda operation, settings: None if operation in layers else settings)
    new = rebuilt(model, builder, tuple(model.input_shape[1:]))
    if not _answers_alike(model, new, mean, std):
        return model, (0.0,) * channels, (1.0,) * channels
    return new, tuple(mean.tolist()), tuple(std.tolist())


def _at_the_beginning(model: Any) -> list[Any]:
    """The layers that scale, from the input on, as long as nothing else uses what goes into one."""
    import tensorflow as tf

    graph = graph_of(model)
    nodes = [node for level in graph._nodes_by_depth.values() for node in level if not node.is_input]
    found: list[Any] = []
    tensor = graph.inputs[0]
    while True:
        users = [node for node in nodes if any(each is tensor for each in tf.nest.flatten(called(node)[1:]))]
        if len(users) != 1 or _scaling(called(users[0])[0]) is None:
            return found
        found.append(called(users[0])[0])
        tensor = tf.nest.flatten(users[0].outputs)[0]


def _scaling(layer: Any) -> Any:
    """`times` and `plus` where the layer gives `times * x + plus`, a number for all channels or for each; or None."""
    settings = layer.get_config()
    if type(layer).__name__ == "Rescaling":
        return np.asarray(settings["scale"], float), np.asarray(settings["offset"], float)
    if type(layer).__name__ == "Normalization" and settings.get("axis") in (-1, 3, [3], [-1], (3,), (-1,)):
        mean, variance = (np.asarray(each, float).ravel() for each in (layer.mean, layer.variance))
        spread = np.maximum(np.sqrt(variance), _SMALLEST_SPREAD)
        return (spread, mean) if settings.get("invert") else (1 / spread, -mean / spread)
    return None


def _answers_alike(model: Any, new: Any, mean: Numbers, std: Numbers) -> bool:
    """To pixels between 0 and 255 and to what they become."""
    x = np.asarray(127.5 + 64 * random_inputs(model), np.float32)
    wanted, given = answers(model, x), answers(new, np.asarray((x - mean) / std, np.float32))
    return float(np.abs(wanted - given).max()) <= LARGEST_DIFFERENCE * max(1e-6, float(np.abs(wanted).max()))
