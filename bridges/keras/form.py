"""The studio's own form of a Keras network: its configuration as JSON and its weights, in one `.npz` without pickles.

Entry `config` is uint8 of JSON `{"api": "tf_keras" | "keras", "class_name": ..., "config": ...}`, and `w0`, `w1`, ...
are `model.get_weights()`. What can be told without TensorFlow is told without it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bridges.keras.allowed import check_config
from core.errors import BadInput

Api = Literal["tf_keras", "keras"]
"""Keras 2, which TensorFlow's Model Optimization Toolkit works on, or Keras 3."""
_APIS = ("tf_keras", "keras")
_MADE_ANEW = ("registered_name", "build_config", "compile_config")
_OF_DAMAGE = (ValueError, TypeError, KeyError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile)
"""What zipfile, numpy and json raise; `RecursionError` is a `RuntimeError`, and so is a wish for a password."""
_DAMAGED = "a Keras network as the studio writes it"


@dataclass(frozen=True, eq=False)
class Described:
    """A network before anything is built of it."""

    api: Api
    class_name: str
    config: Mapping[str, Any]
    weights: tuple[NDArray[Any], ...]

    @property
    def parameter_count(self) -> int:
        """Values in its weights, statistics of normalisation included."""
        return sum(weight.size for weight in self.weights)


def described(content: bytes) -> Described:
    """What is written there, checked. Raises `BadInput`. Needs no TensorFlow."""
    try:
        _require_bounds(content)
        with np.load(BytesIO(content), allow_pickle=False) as file:
            told = json.loads(bytes(file["config"]))
            weights = tuple(file[f"w{index}"] for index in range(len(file.files) - 1))
    except _OF_DAMAGE as error:
        raise BadInput(f"A damaged file ({type(error).__name__})", expected=_DAMAGED) from None
    if not isinstance(told, dict) or told.get("api") not in _APIS:
        raise BadInput("A file without a network's configuration", expected=_DAMAGED)
    check_config(told)
    for index, weight in enumerate(weights):
        if weight.dtype != np.float32 or not np.isfinite(weight).all():
            raise BadInput(f"Weight {index} is {weight.dtype} or not finite", expected="finite float32 values")
    return Described(told["api"], told["class_name"], told["config"], weights)


def _require_bounds(content: bytes) -> None:
    """Raises `BadInput` for entries that would take more memory than the file has bytes."""
    with zipfile.ZipFile(BytesIO(content)) as file:
        entries = file.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise BadInput("A file whose entries are packed", expected=_DAMAGED)
    if (size := sum(entry.file_size for entry in entries)) > len(content):
        raise BadInput(f"A file of {len(content):,} bytes that claims to hold {size:,}", expected=_DAMAGED)


def read(path: Path) -> Any:
    """The network, a model of tf_keras or, where its file says so, of Keras 3. Raises `BadInput`."""
    return built(described(Path(path).read_bytes()))


def built(network: Described) -> Any:
    """The same as a model, its weights in place. Raises `BadInput` where weights and configuration do not fit."""
    keras = library(network.api)
    kind = keras.Sequential if network.class_name == "Sequential" else keras.Model
    try:
        model = kind.from_config(deepcopy(dict(network.config)))  # layers take out what they have read
        wanted = [tuple(weight.shape) for weight in model.weights]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise BadInput(f"Keras cannot build the network ({error!s:.200})", expected=_DAMAGED) from error
    if wanted != (given := [weight.shape for weight in network.weights]):
        raise BadInput(f"{len(given)} weights that do not fit the {len(wanted)} of the layers", expected=_DAMAGED)
    model.set_weights(network.weights)
    return model


def write(model: Any, path: Path) -> None:
    """Write a built model in this form. Raises `BadInput` for layers that Keras does not bring."""
    Path(path).write_bytes(content_of(model))


def content_of(model: Any) -> bytes:
    """What `write` writes. Raises `BadInput` for layers that Keras does not bring."""
    api = api_of(model)
    kind = "Sequential" if isinstance(model, library(api).Sequential) else "Functional"
    if kind == "Functional" and not hasattr(model, "_nodes_by_depth"):
        kind = type(model).__name__
    told = _plain({"api": api, "class_name": kind, "config": model.get_config()}, keeps_places=api == "keras")
    check_config(told)
    weights = {f"w{index}": np.asarray(weight, np.float32) for index, weight in enumerate(model.get_weights())}
    file = BytesIO()
    np.savez(file, config=np.frombuffer(json.dumps(told).encode(), np.uint8), **weights)  # type: ignore[arg-type]
    return file.getvalue()


def api_of(model: Any) -> Api:
    """Which Keras a model is of."""
    return "keras" if isinstance(model, library("keras").Model) else "tf_keras"


def library(api: Api) -> Any:
    """That Keras, which takes seconds to import."""
    if api == "keras":
        import keras

        return keras
    import tf_keras

    return tf_keras


def _plain(value: Any, *, keeps_places: bool) -> Any:
    """A configuration as JSON has it: without where classes lie and how weights begin; numbers are Python's."""
    if isinstance(value, Mapping):
        kept = {
            str(key): _plain(each, keeps_places=keeps_places)
            for key, each in value.items()
            if not (key.endswith("_initializer") or key in _MADE_ANEW or (key == "module" and not keeps_places))
        }
        return kept | {"dtype": "float32"} if isinstance(kept.get("dtype"), dict) else kept
    if isinstance(value, list | tuple):
        return [_plain(each, keeps_places=keeps_places) for each in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "get_config"):
        return _plain(value.get_config(), keeps_places=keeps_places)
    raise BadInput(f"A layer with a setting of the type {type(value).__name__}", expected="numbers, words and lists")
