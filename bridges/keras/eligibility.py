"""Which of TensorFlow's techniques work on a network, found by trying each without training."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridges.keras.converting import quiet, random_inputs
from bridges.keras.form import Described, built, content_of, described
from bridges.keras.kernels import kernels, wrapped
from bridges.keras.qat import int8_tflite, ranges_of, with_rounding
from bridges.keras.quantizing import quantized
from bridges.keras.reading import why_newer
from core.data import Floats
from core.errors import NothingDone, StudioError
from core.progress import Progress, Steps, result_of

_ONLY_OLDER = ("keras_fine_tuning", "keras_pruning", "keras_clustering", "keras_qat")
"""Those that only networks of tf_keras can have."""
TECHNIQUES = (*_ONLY_OLDER, "keras_quantization")
_SECONDS = 300.0
_CLUSTERS = 16
_RAISED = (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError, ArithmeticError)
"""By the toolkit, for what it cannot take."""
_CLASS = re.compile(r"You passed: <class '[\w.]*?(\w+)'>")
_LAYER = re.compile(r"Layer (\S+?):<class '[\w.]*?(\w+)'> is not supported")
_CALLED = re.compile(r'calling layer "([^"]+)" \(type (\w+)\)')
_WHY = {
    "BatchNormalization": "it rounds BatchNorm only of images and vectors, or where it merges with the layer before it",
    "TFOpLambda": "arithmetic that is no layer of its own",
}


def table(model: str) -> Steps[dict[str, Any]]:
    """Task: `{"eligibility": ...}`, as `eligibility` has it, of the network in the file `model`."""
    found = yield from _looked_through(described(Path(model).read_bytes()), None)
    return {"eligibility": found}


def eligibility(model: Any, inputs: Floats | None = None) -> dict[str, str]:
    """By technique, an empty string where it works on this network, or the reason why not, as a sentence.

    Each wrapper of TensorFlow's toolkit is applied to a copy, and what can be converted afterwards is converted;
    nothing is trained. `inputs` x[N, H, W, C] calibrate the quantization, random ones unless given. After five minutes
    no further one is tried.
    """
    return result_of(_looked_through(described(content_of(model)), inputs))


def _looked_through(network: Described, inputs: Floats | None) -> Steps[dict[str, str]]:
    found: dict[str, str] = {}
    began = time.monotonic()
    for done, key in enumerate(TECHNIQUES):
        yield Progress(done=done, total=len(TECHNIQUES), unit="techniques", doing="trying what works on this network")
        if network.api == "keras" and found and key in _ONLY_OLDER:
            found[key] = found[_ONLY_OLDER[0]]
        elif time.monotonic() - began > _SECONDS:
            found[key] = f"It was not tried: the others took {_SECONDS:.0f} s."
        else:
            found[key] = reason(key, network, inputs)
    return found


def reason(key: str, network: Described, inputs: Floats | None = None) -> str:
    """Why that technique does not work on the network, as a sentence; empty where it does."""
    model = built(network)
    if key in _ONLY_OLDER and network.api == "keras":
        return why_newer(model) or "It is a network of Keras 3, which TensorFlow's toolkit cannot take."
    try:
        with quiet():
            _TRIALS[key](model, inputs)
    except StudioError as error:
        return f"{error.received.rstrip('.')}."
    except _RAISED as error:
        return _sentence(str(error), model)
    return ""


def _train_on(model: Any, inputs: Floats | None) -> None:
    """Every network of tf_keras can be trained on."""


def _prune(model: Any, inputs: Floats | None) -> None:
    from tensorflow_model_optimization.sparsity import keras as sparsity

    sparsity.strip_pruning(_wrapped(model, sparsity.prune_low_magnitude))


def _cluster(model: Any, inputs: Floats | None) -> None:
    from tensorflow_model_optimization.clustering import keras as clustering

    start = clustering.CentroidInitialization.LINEAR
    clustering.strip_clustering(
        _wrapped(model, lambda layer: clustering.cluster_weights(layer, _CLUSTERS, cluster_centroids_init=start))
    )


def _wrapped(model: Any, wrap: Callable[[Any], Any]) -> Any:
    """The layers with kernels, wrapped as the techniques wrap them. Raises `NothingDone` where there is none."""
    names = list(kernels(model))
    if not names:
        raise NothingDone("It has no convolution and no dense layer")
    return wrapped(model, names, wrap)


def _quantize_in_training(model: Any, inputs: Floats | None) -> None:
    rounded, _ = with_rounding(model, {})
    for place, (low, high) in enumerate(ranges_of(rounded)):  # each its own, as training would leave them
        low.assign(-1.0 - place / 1000)
        high.assign(1.0 + place / 500)
    int8_tflite(rounded, has_clusters=False)


def _quantize(model: Any, inputs: Floats | None) -> None:
    x = random_inputs(model) if inputs is None else inputs
    try:
        quantized(model, "int8", x)
    except NothingDone:
        quantized(model, "fp16")


_TRIALS: dict[str, Callable[[Any, Floats | None], None]] = {
    "keras_fine_tuning": _train_on,
    "keras_pruning": _prune,
    "keras_clustering": _cluster,
    "keras_qat": _quantize_in_training,
    "keras_quantization": _quantize,
}


def _sentence(said: str, model: Any) -> str:
    """What the toolkit said, as a sentence that names the layer."""
    if found := _LAYER.search(said) or _CALLED.search(said):
        return _about(*found.groups())
    if found := _CLASS.search(said):
        kind = found[1]
        return _about(next((layer.name for layer in model.layers if type(layer).__name__ == kind), kind), kind)
    first = next(iter(said.strip().splitlines()), "it gave no reason")
    return f"TensorFlow's toolkit stops at this network ({first[:200]})."


def _about(name: str, kind: str) -> str:
    why = _WHY.get(kind, f"it has no rule for {kind} layers")
    return f"TensorFlow's toolkit cannot take the layer `{name}` ({kind}): {why}."
