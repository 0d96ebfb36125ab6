"""Any built Keras network in the form that the studio works on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bridges.keras.arithmetic import kind_of
from bridges.keras.converting import answers, random_inputs
from bridges.keras.form import Api, api_of
from bridges.keras.rebuilding import Builder, graph_of, producer, rebuilt
from core.data import Floats
from core.errors import BadInput, CannotCompose, StudioError

_LARGEST_DIFFERENCE = 1e-3
_IMAGE_AXES, _SCORE_AXES = 4, 2
_SMALLEST_SIDE = 8
"""Of gray images that a network takes as rows of numbers."""
_CHANNELS, _LARGEST_SIDE, _MOST_CLASSES = (1, 3), 4096, 100_000
_MEANS_NOTHING = "what is measured of its answers means nothing."
_ONE_LOGIT = (
    "It answers with one score and no sigmoid follows: it is taken for a network of two classes whose score is a logit "
    f"(above 0: the second class). If it estimates a quantity instead, {_MEANS_NOTHING}"
)
_ONE_PROBABILITY = (
    "Its one score became two classes: the first has the score 0, the second the one that the network gives."
)
_SOFTMAX = frozenset({"softmax", "Softmax"})
_SIGMOID = frozenset({"sigmoid", "Sigmoid"})
_SMALLEST_PROBABILITY = 1e-5


def house_form(model: Any, shape: tuple[int, int, int] | None = None) -> tuple[Any, tuple[str, ...]]:
    """The network as the studio works on it, and sentences about what was changed.

    It is one flat Functional model: models inside it are opened, layers that only act in training (augmentation, noise)
    are left out, every layer is trainable and in float32, and it takes x[N, H, W, C] in batches of any size and answers
    with logits [N, classes]: a softmax at its end is taken off, and one score becomes two classes. A network that takes
    x[N, H, W], or rows of H x H numbers, is given gray images. Where that is a guess, its sentence `is_doubtful`. It is
    of tf_keras wherever tf_keras has all its layers, else of Keras 3, with a sentence why. Its answers were compared
    with the given model's. `shape` is (H, W, C) for a network that leaves its size open.

    Raises `BadInput` for what does not classify images that way, and `CannotCompose` for a model described by code.
    """
    size = _input_size(model, shape)
    end = _ending(model)
    reasons: list[str] = []
    for api in ("tf_keras", "keras") if api_of(model) == "keras" else ("tf_keras",):
        try:
            new = _checked(model, size, end, api)
        except StudioError as error:
            if api == api_of(model):
                raise
            reasons.append(_sentence(error))
        else:
            return new, (*_said(model, new, end), *reasons)
    raise AssertionError("the last of the two returns or raises")


def is_doubtful(sentence: str) -> bool:
    """Whether a sentence of `house_form` tells of a guess, which a person has to look at."""
    return sentence.endswith(_MEANS_NOTHING)


def why_newer(model: Any) -> str:
    """Why a model of Keras 3 cannot be one of tf_keras, as a sentence; empty where it can, or is one."""
    if api_of(model) == "tf_keras":
        return ""
    try:
        _checked(model, _input_size(model, None), _ending(model), "tf_keras")
    except StudioError as error:
        return _sentence(error)
    return ""


@dataclass(frozen=True)
class _Ending:
    """How a network ends, and how scores of the new one become the old one's."""

    last: Any
    note: str
    as_before: Callable[[Floats], Floats]
    one_score: Any = None
    """The Dense layer that gives the only score there is."""


def _input_size(model: Any, shape: tuple[int, int, int] | None) -> tuple[int, ...]:
    graph = graph_of(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise BadInput(
            f"A network of {_counted(graph.inputs, 'input')} and {_counted(graph.outputs, 'output')}",
            expected="one image in and the scores of its classes out",
            action="Make a keras.Model of the part that classifies",
        )
    before, after = tuple(graph.inputs[0].shape), tuple(graph.outputs[0].shape)
    size: tuple[Any, ...] = shape or _size_of(before[1:])
    if len(size) != _IMAGE_AXES - 1 or len(after) != _SCORE_AXES or not after[-1]:
        raise BadInput(
            f"A network that takes {before} and answers with {after}",
            expected="images (batch, height, width, channels) and scores (batch, classes)",
            action="Make a keras.Model of the part that classifies images",
        )
    if None in size:
        raise BadInput(f"A network for images of any size, {before[1:]}", action="State the size of its images")
    _require_bounds(size, int(after[-1]))
    return size


def _counted(ends: Sequence[Any], name: str) -> str:
    return f"{len(ends)} {name}" if len(ends) == 1 else f"{len(ends)} {name}s"


def _size_of(given: tuple[int | None, ...]) -> tuple[Any, ...]:
    """(H, W, C) of what a network takes: (H, W) are gray images, and so are rows of as many numbers as a square has."""
    if len(given) == _IMAGE_AXES - 2:
        return (*given, 1)
    side = math.isqrt(given[0] or 0) if len(given) == 1 else 0
    return (side, side, 1) if side >= _SMALLEST_SIDE and side * side == given[0] else given


def _require_bounds(size: tuple[int, ...], scores: int) -> None:
    if size[2] not in _CHANNELS:
        raise BadInput(f"It takes {size[2]} channels", expected="1 or 3, as the last axis: (height, width, channels)")
    if max(size) > _LARGEST_SIDE:
        raise BadInput(
            f"It takes images of {size[0]:,} x {size[1]:,} pixels", expected=f"sides of at most {_LARGEST_SIDE:,}"
        )
    if scores > _MOST_CLASSES:
        raise BadInput(f"It answers with {scores:,} scores", expected=f"at most {_MOST_CLASSES:,}")


def _ending(model: Any) -> _Ending:
    last = producer(graph_of(model).outputs[0])
    settings = last.get_config() if hasattr(last, "get_config") else {}
    kind = {type(last).__name__, kind_of(last), str(settings.get("activation", ""))}
    if int(graph_of(model).outputs[0].shape[-1]) == 1:
        return _of_one_score(last, settings, is_probability=bool(kind & _SIGMOID))
    if kind & _SOFTMAX:
        return _Ending(last, "The softmax at its end was taken off: it answers with logits.", _softmax)
    if kind & _SIGMOID:
        return _Ending(last, "The sigmoid at its end was taken off; the order of its scores is the same.", _sigmoid)
    return _Ending(None, "", lambda scores: scores)


def _of_one_score(last: Any, settings: dict[str, Any], *, is_probability: bool) -> _Ending:
    """How a network of one score ends: a Dense layer, with a sigmoid in it, after it or nowhere."""
    dense = last
    if is_probability and type(last).__name__ != "Dense":
        dense = producer(last.input)
    if type(dense).__name__ != "Dense" or not (is_probability or settings.get("activation") == "linear"):
        raise BadInput(f"A network with one score, from a {type(dense).__name__} layer", expected="one per class")
    if is_probability:
        return _Ending(last, _ONE_PROBABILITY, lambda scores: _sigmoid(scores[:, 1:] - scores[:, :1]), dense)
    return _Ending(last, _ONE_LOGIT, lambda scores: scores[:, 1:] - scores[:, :1], dense)


def _checked(model: Any, size: tuple[int, ...], end: _Ending, api: Api) -> Any:
    """The network built anew in that Keras. Raises `CannotCompose` where it cannot be or answers otherwise."""
    new = rebuilt(model, Builder(api, partial(_changed, end=end), partial(_weights, end=end)), size)
    x = random_inputs(new)
    wanted = answers(model, x.reshape(-1, *model.input_shape[1:]) if len(model.input_shape) < x.ndim else x)
    difference = _difference(wanted, end.as_before(answers(new, x)), is_probability=end.last is not None)
    if not difference <= _LARGEST_DIFFERENCE:
        raise CannotCompose(f"Built anew in {_TITLES[api]}, the network answers otherwise: by {difference:.2g}")
    return new


_TITLES = {"tf_keras": "Keras 2", "keras": "Keras 3"}


def _changed(operation: Any, settings: dict[str, Any], end: _Ending) -> dict[str, Any] | None:
    if settings.get("data_format") == "channels_first":
        raise BadInput(
            f"The layer `{operation.name}` computes with channels first, which TensorFlow cannot on a CPU",
            expected="a network for images (batch, height, width, channels)",
            action="Build it with data_format='channels_last' and copy its weights",
        )
    if operation is end.one_score:
        settings["units"] = 2
    if operation is not end.last:
        return settings
    return settings | {"activation": "linear"} if getattr(operation, "weights", None) else None


def _weights(layer: Any, weights: list[Any], end: _Ending) -> list[Any]:
    """The same, but for one score: zeros for a class before it."""
    if layer is not end.one_score:
        return weights
    return [np.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(1, 0)]) for weight in weights]


def _difference(wanted: Floats, given: Floats, *, is_probability: bool) -> float:
    """Largest difference: of the logarithms of probabilities that are not vanishing, else relative to the largest."""
    if is_probability and wanted.min() >= 0 and wanted.max() <= 1:
        seen = wanted > _SMALLEST_PROBABILITY
        return float(np.abs(np.log(wanted[seen]) - np.log(np.maximum(given[seen], 1e-30))).max(initial=0))
    return float(np.abs(wanted - given).max() / max(1.0, np.abs(wanted).max()))


def _said(model: Any, new: Any, end: _Ending) -> tuple[str, ...]:
    moved = api_of(model) != api_of(new)
    notes = ["It was built anew in Keras 2, with the same weights and the same answers." if moved else "", end.note]
    return tuple(note for note in (*notes, _said_of_input(graph_of(model).inputs[0].shape, new)) if note)


def _said_of_input(given: Any, new: Any) -> str:
    _, height, width, _ = new.input_shape
    if len(given) == _IMAGE_AXES - 1:
        return f"It takes images without an axis of channels: here they are gray, {height} x {width} pixels."
    if len(given) < _IMAGE_AXES - 1:
        return (
            f"It takes rows of {height * width:,} numbers, which are taken for the pixels of gray images of {height} x "
            f"{width}, row by row. If they are anything else, {_MEANS_NOTHING}"
        )
    return ""


def _sentence(error: StudioError) -> str:
    return f"{error.received.rstrip('.')}."


def _softmax(scores: Floats) -> Floats:
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def _sigmoid(scores: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(scores, -80, 80))), np.float32)
