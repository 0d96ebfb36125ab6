"""Reasons for refusing a place in a recipe that the techniques of TensorFlow share."""

from __future__ import annotations

from collections.abc import Mapping

from bridges.environments import TENSORFLOW
from core.bundle import Situation
from core.errors import CannotCompose, Unavailable
from optimizers.fit import KEEP_ONE, refuse_repetition, require_training_images

_FLOAT_KERAS = "a float network of Keras, because a quantized one is a finished .tflite file"


def require_keras(situation: Situation, key: str, title: str, *, quantizes: bool = False) -> None:
    """Raises `CannotCompose` unless the network is a float one of Keras here, and `Unavailable` without TensorFlow.

    `quantizes` is whether the technique does so itself: then no place beside another that does suits it.
    """
    refuse_repetition(situation, key, title)
    if situation.brought_as != "keras":
        raise CannotCompose(title, expected=_FLOAT_KERAS, action="Leave it out, or choose a model of Keras")
    if situation.form != "keras":
        raise CannotCompose(
            f"{title} after quantization",
            expected=_FLOAT_KERAS,
            action=KEEP_ONE if quantizes else f"Move {title} before quantization",
        )
    if reason := TENSORFLOW.why_missing:
        raise Unavailable(reason)


def require_trainable_keras(
    situation: Situation, key: str, title: str, action: str, *, quantizes: bool = False
) -> None:
    """The same for what trains: also raises `CannotCompose` where there are no training images."""
    require_keras(situation, key, title, quantizes=quantizes)
    require_training_images(situation, title, action)


def refuse_after(situation: Situation, title: str, reasons: Mapping[str, str]) -> None:
    """Raises `CannotCompose` where a technique came before whose key is in `reasons`, which say what would be lost."""
    for key, reason in reasons.items():
        if key in situation.applied:
            raise CannotCompose(reason, expected=f"{title} first", action=f"Move {title} up, or leave one of them out")
