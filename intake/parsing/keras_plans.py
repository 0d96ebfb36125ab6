"""How a Keras model is built, decided before TensorFlow is imported; and its configuration, looked at as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridges.keras.allowed import check_config
from core.errors import BadInput, Refused
from intake.limits import MIB
from intake.parsing import snippets
from intake.parsing.untrusted import shown

MOST_CONFIG_BYTES = 32 * MIB
_NOT_ASKED = ("compile_config", "training_config")
"""What a model was trained with, which Keras would build along with it."""


@dataclass(frozen=True)
class Plan:
    """What was found of a model, which is not loaded yet."""

    config: Mapping[str, Any] | None
    """Checked; None for a SavedModel that Keras does not describe."""
    saved_as: str
    """`Keras 3.12`, `Keras 2.21`, as the file says."""
    build: Callable[[], Any]
    """Imports TensorFlow, and raises anything."""


def config_of(text: bytes | str, what: str) -> dict[str, Any]:
    """A model's configuration without what concerns its training. Raises `Refused` for whatever could run code."""
    if len(text) > MOST_CONFIG_BYTES:
        raise Refused(f"{what} has {len(text):,} bytes", expected=f"at most {MOST_CONFIG_BYTES:,}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(f"{what} is no JSON", expected="a model as model.save writes it") from None
    if not isinstance(found, dict):
        raise Refused(f"{what} describes no model", expected="a model as model.save writes it")
    try:
        config: dict[str, Any] = _without_training(found)
        check_config(config)
    except RecursionError:
        raise Refused(
            f"{what} has layers in layers without an end", expected="a model as model.save writes it"
        ) from None
    except BadInput as error:
        raise Refused(
            shown(error.received), expected=error.expected, action=error.action, snippet=snippets.KERAS_TO_ONNX
        ) from None
    return config


def _without_training(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_training(each) for key, each in value.items() if key not in _NOT_ASKED}
    return [_without_training(each) for each in value] if isinstance(value, list) else value


def title(version: object) -> str:
    """`Keras 3.12.0` for the version that a file names; `Keras` where it names none."""
    return f"Keras {shown(version)}" if isinstance(version, str) and version else "Keras"


def is_older(version: object) -> bool:
    """Whether Keras 2 wrote it, whose files tf_keras reads."""
    return not isinstance(version, str) or version[:2] in ("", "0.", "1.", "2.")
