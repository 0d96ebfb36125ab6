"""Reasons for refusing a place in a recipe that the techniques of TensorFlow share."""

from __future__ import annotations

from collections.abc import Mapping

from bridges.environments import TENSORFLOW
from core.bundle import Situation
from core.errors import CannotCompose, Unavailable
from optimizers.fit import refuse_repetition, require_training_images


def require_keras(situation: Situation, key: str, title: str) -> None:
    """Raises `CannotCompose` unless the network is a float one of Keras here, and `Unavailable` without TensorFlow."""
    refuse_repetition(situation, key, title)
    if situation.form != "keras":
        raise CannotCompose(
            f"{title} after quantization" if situation.brought_as == "keras" else title,
            expected="a float network of Keras, because a quantized one is a finished .tflite file",
            action=f"Move {title} before quantization"
            if situation.brought_as == "keras"
            else "Leave it out, or choose a model of Keras",
        )
    if reason := TENSORFLOW.why_missing:
        raise Unavailable(reason)


def require_trainable_keras(situation: Situation, key: str, title: str, action: str) -> None:
    """The same for what trains: also raises `CannotCompose` where there are no training images."""
    require_keras(situation, key, title)
    require_training_images(situation, title, action)


def refuse_after(situation: Situation, title: str, reasons: Mapping[str, str]) -> None:
    """Raises `CannotCompose` where a technique came before whose key is in `reasons`, which say what would be lost."""
    for key, reason in reasons.items():
        if key in situation.applied:
            raise CannotCompose(reason, expected=f"{title} first", action=f"Move {title} up, or leave one of them out")
