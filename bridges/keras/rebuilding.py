"""A Keras network built anew, layer by layer, as one flat network of tf_keras or of the Keras it is of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridges.keras.arithmetic import Channel, as_layer, kind_of
from bridges.keras.form import Api, library
from core.errors import CannotCompose

ONLY_IN_TRAINING = ("ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "Identity")
"""Beside what augments images (`Random...`), layers that pass their input on unchanged once training is over."""
_CHANGES_SIZE = ("RandomCrop", "RandomHeight", "RandomWidth")
_OLDER_NAMES = {"silu": "swish"}
_OLDER_NAMES_OF_SETTINGS = {("LeakyReLU", "negative_slope"): "alpha"}
"""What a layer's setting is called in Keras 2, where it is called otherwise."""
_ALWAYS = ("name", "trainable", "dtype")
_UNFIT = ("GroupNormalization",)
"""Layers of Keras 2 that cannot be brought to LiteRT's format for batches of any size; those of Keras 3 can."""


@dataclass
class Builder:
    """Makes the layers of the new network; `change` gives a layer's settings, or None to leave it out."""

    api: Api
    change: Callable[[Any, dict[str, Any]], dict[str, Any] | None]
    weights: Callable[[Any, list[Any]], list[Any]] = lambda layer, weights: weights
    """What a layer's weights become."""
    made: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """By the identity of the old layer: the old one and the new one, which is None where it was left out."""
    names: set[str] = field(default_factory=set)

    def call(self, operation: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """What the new layer answers to tensors of the new network. Raises `CannotCompose`."""
        if id(operation) not in self.made:
            self.made[id(operation)] = (operation, self._new(operation))
        new = self.made[id(operation)][1]
        kept = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
        if any(isinstance(each, Channel) for each in _flat(args)) and kind_of(operation) != "Stack":
            raise _no_counterpart(operation, "what takes a single channel")
        return args[0] if new is None else new(*args, **kept)

    def copy_weights(self) -> None:
        """Give the new layers the weights of the old ones. Raises `CannotCompose` where they do not fit."""
        for old, new in self.made.values():
            if not (getattr(old, "weights", None) and getattr(new, "weights", None)):
                continue
            weights = self.weights(old, old.get_weights())
            if [weight.shape for weight in weights] != [tuple(weight.shape) for weight in new.weights]:
                raise _no_counterpart(old, f"the weights of {type(old).__name__} layers as Keras 3 keeps them")
            new.set_weights(weights)

    def _new(self, operation: Any) -> Any:
        name = type(operation).__name__
        if name in ONLY_IN_TRAINING or (name.startswith("Random") and name not in _CHANGES_SIZE):
            return None
        settings = self.change(operation, _settings(operation))
        if settings is None:
            return None
        if self.api == "tf_keras" and kind_of(operation):
            return lambda *args, **kwargs: self._computed(operation, settings, args, kwargs)
        settings["name"] = self._unused(str(settings.get("name") or operation.name))
        if self.api == "tf_keras" and isinstance(operation, library("keras").Operation):
            return older(operation, settings)
        return type(operation).from_config(settings)

    def _computed(self, operation: Any, settings: dict[str, Any], args: Any, kwargs: Any) -> Any:
        """What arithmetic answers, as a layer where tf_keras has one for it. Raises `CannotCompose`."""
        name = self._unused(str(settings.get("name") or operation.name))
        found = as_layer(operation, name)(*args, **kwargs)
        if found is None and isinstance(operation, library("keras").Operation):
            raise _no_counterpart(operation, f"the operation {type(operation).__name__} as it is used")
        return type(operation).from_config(settings | {"name": name})(*args, **kwargs) if found is None else found

    def _unused(self, name: str) -> str:
        while name in self.names:
            name += "_again"
        self.names.add(name)
        return name


def rebuilt(model: Any, builder: Builder, shape: tuple[int, ...]) -> Any:
    """A flat network of the builder's layers, with their weights, for images x[N, *shape] in batches of any size.

    A model that takes the same numbers along other axes gets them so.
    """
    keras = library(builder.api)
    start = keras.layers.Input(shape, dtype="float32", name="input")
    wanted = tuple(graph_of(model).inputs[0].shape)[1:]
    given = start if len(wanted) == len(shape) else keras.layers.Reshape(wanted, name="as_given")(start)
    end = replayed(model, [given], builder)
    new = keras.Model(start, end)
    builder.copy_weights()
    return new


def replayed(model: Any, inputs: list[Any], builder: Builder) -> Any:
    """The output of the new network where each operation of `model`, and of models in it, is called again in order."""
    import tensorflow as tf

    graph = graph_of(model)
    known = {id(old): new for old, new in zip(graph.inputs, inputs, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            operation, args, kwargs = called(node)
            args, kwargs = tf.nest.pack_sequence_as(
                (args, kwargs), [known.get(id(each), each) for each in tf.nest.flatten((args, kwargs))]
            )
            given = [each for each in tf.nest.flatten((args, kwargs)) if hasattr(each, "shape")]
            new = replayed(operation, given, builder) if is_model(operation) else builder.call(operation, args, kwargs)
            known |= {id(old): each for old, each in zip(_listed(node.outputs), _listed(new), strict=True)}
    outputs = [known[id(output)] for output in graph.outputs]
    return outputs[0] if len(outputs) == 1 else outputs


def called(node: Any) -> tuple[Any, Any, Any]:
    """The operation of a node and what it is called with, of either Keras."""
    if hasattr(node, "arguments"):
        return node.operation, node.arguments.args, node.arguments.kwargs
    return node.layer, node.call_args, node.call_kwargs


def producer(tensor: Any) -> Any:
    """The operation that a tensor of a network comes from; of a model within it, that model's last one."""
    history = tensor._keras_history
    operation = getattr(history, "operation", None) or history.layer
    return producer(graph_of(operation).outputs[0]) if is_model(operation) else operation


def graph_of(model: Any) -> Any:
    """What lists a model's operations. Raises `CannotCompose` for a model that only its own code describes."""
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth") or not getattr(graph, "outputs", None):
        raise CannotCompose(
            f"A model of the class {type(model).__name__}, which was not built yet or is described by code alone",
            expected="a Sequential model with a known input size, or a Functional one",
            action="Build it with keras.Model(inputs, outputs) and copy its weights",
        )
    return graph


def is_model(operation: Any) -> bool:
    """Whether an operation is a whole network."""
    return isinstance(operation, library("keras").Model | library("tf_keras").Model)


def older(operation: Any, settings: dict[str, Any]) -> Any:
    """A layer of tf_keras for one of Keras 3. Raises `CannotCompose` where there is none like it."""
    tf_keras = library("tf_keras")
    name, activation = type(operation).__name__, _older_value(settings.get("activation"))
    if name == "Normalization":
        return _normalization(operation, settings)
    if name == "Activation" and activation == "relu6":
        return tf_keras.layers.ReLU(6.0, name=settings["name"])
    if name in _UNFIT:
        raise _no_counterpart(operation, f"{name} layers that LiteRT can take")
    if not hasattr(tf_keras.layers, name):
        raise _no_counterpart(operation, f"{name} layers")
    if isinstance(activation, str) and not hasattr(tf_keras.activations, activation):
        raise _no_counterpart(operation, f"the activation {activation}")
    kept = _older_settings(name, settings)
    kind = getattr(tf_keras.layers, name)
    try:
        # from_config of this one asks for the shapes that a layer of tf_keras was called with
        return kind(**kept) if name == "MultiHeadAttention" else kind.from_config(kept)
    except (TypeError, ValueError, KeyError) as error:
        raise _no_counterpart(operation, f"these settings of {name} layers ({error!s:.100})") from error


def _older_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a layer of Keras 3 that the layer of that name has in tf_keras, as it calls them."""
    kind = getattr(library("tf_keras").layers, name)
    taken = {key for each in kind.__mro__ for key in inspect.signature(each.__init__).parameters} | {*_ALWAYS}
    renamed = {_OLDER_NAMES_OF_SETTINGS.get((name, key), key): value for key, value in settings.items()}
    return {key: _older_value(value) for key, value in renamed.items() if key in taken}


def _older_value(value: Any) -> Any:
    """A setting as tf_keras reads it."""
    if not isinstance(value, dict) or "class_name" not in value:
        return _OLDER_NAMES.get(value, value) if isinstance(value, str) else value
    name, settings = value["class_name"], value.get("config", {})
    if hasattr(library("tf_keras").layers, name) and isinstance(settings, dict):  # a layer as an activation
        settings = _older_settings(name, settings | {"dtype": "float32"})
    return {"class_name": name, "config": settings}


def _normalization(operation: Any, settings: dict[str, Any]) -> Any:
    """Constants in Keras 2, where Keras 3 keeps what it was adapted to as weights."""
    import numpy as np

    mean, variance = (np.asarray(each).ravel().tolist() for each in (operation.mean, operation.variance))
    return library("tf_keras").layers.Normalization(
        axis=settings.get("axis", -1), mean=mean, variance=variance, name=settings["name"]
    )


def _no_counterpart(operation: Any, what: str) -> CannotCompose:
    return CannotCompose(
        f"Keras 2, which TensorFlow's optimisation toolkit works on, lacks {what} (`{operation.name}`)"
    )


def _settings(operation: Any) -> dict[str, Any]:
    """A layer's configuration: trainable, in float32, without how its weights begin."""
    settings = {key: value for key, value in operation.get_config().items() if not key.endswith("_initializer")}
    if "trainable" in settings:
        settings["trainable"] = True
    if "dtype" in settings:
        settings["dtype"] = "float32"
    return settings


def _listed(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _flat(arguments: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(arguments))
