"""Wrappers of TensorFlow's Model Optimization Toolkit, taken off the configuration and the weights of a `.h5` file.

A network that was saved while it was pruned, clustered or trained with rounding has its layers in them. They are never
built: a wrapper's layer takes its place, and what the wrapper did to the layer's weights is done to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import Refused

WRAPPERS = ("ClusterWeights", "PruneLowMagnitude", "QuantizeWrapper", "QuantizeWrapperV2")
_ROUNDING = "QuantizeLayer"
"""The layer that rounds what comes in; it has no other inside."""
_ACTIVATIONS = {"NoOpActivation": "linear", "QuantizeAwareActivation": None}
"""What stands for an activation in a layer that is trained with rounding; None for the one that it says."""
NOTE = (
    "It was saved in the wrappers of TensorFlow's optimisation toolkit. They were taken off: zeros and clusters stay, "
    "ranges that were learnt for rounding do not."
)
SNIPPET = """\
import tensorflow_model_optimization as tfmot  # where the network was made
network = tfmot.sparsity.keras.strip_pruning(network)  # after clustering: tfmot.clustering.keras.strip_clustering
network.save("model.keras")  # what was trained with rounding: save("model.h5")"""
Weights = Mapping[str, NDArray[Any]]


def are_in(config: Mapping[str, Any]) -> str:
    """The class of the first wrapper among a model's layers; empty where there is none."""
    return next((layer["class_name"] for layer in _layers(config) if _is_wrapper(layer)), "")


def refusal(wrapper: str) -> Refused:
    """The error for a wrapper that is not taken off."""
    return Refused(
        f"A network whose layers are in wrappers of TensorFlow's optimisation toolkit (`{wrapper}`)",
        expected="the network without them, or a .h5 file, of which they are taken off here",
        action="Take them off where it was made, and save it again",
        snippet=SNIPPET,
    )


def unwrapped(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration with each wrapper's layer in its place and under its name."""
    inside = dict(config["config"])
    return {**config, "config": inside | {"layers": [_without_wrapper(layer) for layer in inside["layers"]]}}


def weights_of(found: Weights) -> dict[str, NDArray[Any]]:
    """A layer's own weights, by name, from those that its wrapper kept: pruned ones are zero, clustered ones alike."""
    weights = dict(found)
    for name, places in found.items():
        if name.startswith("pulling_indices_") and (kernel := name.removeprefix("pulling_indices_")) in found:
            centroids = found[f"cluster_centroids_{kernel}"]
            if centroids.ndim != 1:
                raise refusal("ClusterWeights, with clusters for each channel")
            weights[kernel] = centroids[places.astype(np.int64)].astype(np.float32)
    if "mask" in found:
        mask = found["mask"]
        weights = {name: each * mask if each.shape == mask.shape else each for name, each in weights.items()}
    return weights


def _layers(config: Mapping[str, Any]) -> list[Any]:
    inside = config.get("config")
    layers = inside.get("layers") if isinstance(inside, dict) else None
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def _is_wrapper(layer: Mapping[str, Any]) -> bool:
    return layer.get("class_name") in (*WRAPPERS, _ROUNDING) and isinstance(layer.get("config"), dict)


def _without_wrapper(layer: Any) -> Any:
    if not isinstance(layer, dict) or not _is_wrapper(layer):
        return layer
    outer = layer["config"]
    name, kept = outer.get("name"), {key: layer[key] for key in ("name", "inbound_nodes") if key in layer}
    if layer["class_name"] == _ROUNDING:
        return kept | {"class_name": "Activation", "config": {"name": name, "activation": "linear"}}
    inner = outer.get("layer")
    if not isinstance(inner, dict) or not isinstance(inner.get("config"), dict):
        raise refusal(layer["class_name"])
    shape = {key: outer[key] for key in ("batch_input_shape",) if key in outer}
    settings = inner["config"] | shape | {"name": name}
    return kept | {"class_name": inner.get("class_name"), "config": settings | _activation(settings)}


def _activation(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The activation that a layer had before it was trained with rounding, as its setting."""
    given = settings.get("activation")
    if not isinstance(given, dict) or given.get("class_name") not in _ACTIVATIONS:
        return {}
    inside = given.get("config")
    told = inside.get("activation") if isinstance(inside, dict) else None
    return {"activation": _ACTIVATIONS[given["class_name"]] or _plain(told)}


def _plain(activation: Any) -> Any:
    """The same of an activation that stands in another."""
    return _activation({"activation": activation}).get("activation", activation)
