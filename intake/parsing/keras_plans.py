"""How a Keras model is built, decided before TensorFlow is imported; and its configuration, looked at as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridges.keras.allowed import check_config
from core.errors import BadInput, Refused
from intake.limits import MIB
from intake.parsing import keras_wrappers, snippets
from intake.parsing.untrusted import shown

MOST_CONFIG_BYTES = 32 * MIB
_NOT_ASKED = ("compile_config", "training_config")
"""What a model was trained with, which Keras would build along with it."""

IN_FLOAT32 = "It computes in mixed precision, or takes other numbers than float32; here all of it is in float32."
_POLICIES = ("DTypePolicy", "Policy")
_OTHERS = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64", "uint8")
"""What a layer may compute, keep its weights or take its images in, beside float32."""


@dataclass(frozen=True)
class Plan:
    """What was found of a model, which is not loaded yet."""

    config: Mapping[str, Any] | None
    """Checked; None for a SavedModel that Keras does not describe."""
    saved_as: str
    """`Keras 3.12`, `Keras 2.21`, as the file says."""
    build: Callable[[], Any]
    """Imports TensorFlow, and raises anything."""
    notes: tuple[str, ...] = ()
    """What was changed before it is built, in sentences."""


@dataclass(frozen=True)
class Checked:
    """A model's configuration that names nothing but layers of Keras and their parts."""

    config: dict[str, Any]
    notes: tuple[str, ...]
    """What was changed in it, in sentences."""


def config_of(text: bytes | str, what: str, *, unwraps: bool = False) -> Checked:
    """A model's configuration without what concerns its training, in float32.

    `unwraps` says whether wrappers of the optimisation toolkit may be taken off. Raises `Refused` for whatever could
    run code.
    """
    if len(text) > MOST_CONFIG_BYTES:
        raise Refused(f"{what} has {len(text):,} bytes", expected=f"at most {MOST_CONFIG_BYTES:,}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(f"{what} is no JSON", expected="a model as model.save writes it") from None
    if not isinstance(found, dict):
        raise Refused(f"{what} describes no model", expected="a model as model.save writes it")
    try:
        return _checked(found, unwraps=unwraps)
    except RecursionError:
        raise Refused(
            f"{what} has layers in layers without an end", expected="a model as model.save writes it"
        ) from None
    except Refused:
        raise
    except BadInput as error:
        snippet = snippets.KERAS_TO_ONNX if "ONNX" in error.action else ""
        raise Refused(shown(error.received), expected=error.expected, action=error.action, snippet=snippet) from None


def _checked(found: dict[str, Any], *, unwraps: bool) -> Checked:
    """Raises `Refused`, `BadInput` and `RecursionError`."""
    config, notes = _with_layers_named(_without_training(found)), []
    if wrapper := keras_wrappers.are_in(config):
        if not unwraps:
            raise keras_wrappers.refusal(wrapper)
        config = keras_wrappers.unwrapped(config)
        notes.append(keras_wrappers.NOTE)
    if (plain := _in_float32(config)) != config:
        notes.append(IN_FLOAT32)
    check_config(plain)
    return Checked(plain, tuple(notes))


def _without_training(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_training(each) for key, each in value.items() if key not in _NOT_ASKED}
    return [_without_training(each) for each in value] if isinstance(value, list) else value


def _with_layers_named(found: dict[str, Any]) -> dict[str, Any]:
    """A Sequential model of before Keras 2.2.3, of which only its layers are told, as later ones are described."""
    layers = found.get("config")
    if found.get("class_name") != "Sequential" or not isinstance(layers, list):
        return found
    return found | {"config": {"name": "sequential", "layers": layers}}


def _in_float32(value: Any) -> Any:
    """A network in mixed precision, or for images in 8 bits, as one that computes in float32 throughout."""
    if isinstance(value, list):
        return [_in_float32(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: "float32" if key == "dtype" and _is_other(each) else _in_float32(each) for key, each in value.items()}


def _is_other(dtype: Any) -> bool:
    if isinstance(dtype, dict) and dtype.get("class_name") in _POLICIES and isinstance(dtype.get("config"), dict):
        dtype = dtype["config"].get("name")
    return dtype in _OTHERS


def title(version: object) -> str:
    """`Keras 3.12.0` for the version that a file names; `Keras` where it names none."""
    return f"Keras {shown(version)}" if isinstance(version, str) and version else "Keras"


def is_older(version: object) -> bool:
    """Whether Keras 2 wrote it, whose files tf_keras reads."""
    return not isinstance(version, str) or version[:2] in ("", "0.", "1.", "2.")
