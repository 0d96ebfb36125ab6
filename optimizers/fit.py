"""Reasons for refusing a place in a recipe that more than one technique shares."""

from __future__ import annotations

from core.bundle import Situation
from core.errors import CannotCompose

REDUCED = ("fp16", "bf16")


def require_trainable(situation: Situation, title: str) -> None:
    """Raises `CannotCompose` unless the network is a float32 torch module here."""
    if situation.form != "torch" or situation.precision not in ("fp32", *REDUCED):
        raise CannotCompose(
            f"{title} after quantization",
            expected="the float network, because a quantized one has no weights left to train",
            action=f"Move {title} before quantization",
        )
    if situation.precision in REDUCED:
        raise CannotCompose(
            f"{title} after mixed precision",
            expected="the float32 network, because mixed precision decides how the finished network computes",
            action=f"Move {title} before mixed precision",
        )


def require_float(situation: Situation, title: str) -> None:
    """Raises `CannotCompose` unless the network is a float32 torch module, which a quantizer can take."""
    if situation.form != "torch" or situation.precision not in ("fp32", *REDUCED):
        raise CannotCompose(
            f"{title} of a network that is quantized already",
            expected="a float network",
            action="Keep one quantizing step, as the last one",
        )
    if situation.precision in REDUCED:
        raise CannotCompose(
            f"{title} after mixed precision in {situation.precision}",
            expected="a float32 network, because 8-bit values replace 16-bit ones and do not add to them",
            action="Remove one of the two",
        )


def require_training_images(situation: Situation, title: str, action: str) -> None:
    """Raises `CannotCompose` where there is nothing to learn from."""
    if not situation.train_images:
        raise CannotCompose(
            f"{title} for a model without training images", expected="images to train on", action=action
        )


def refuse_repetition(situation: Situation, key: str, title: str) -> None:
    """Raises `CannotCompose` for a technique that was applied before."""
    if key in situation.applied:
        raise CannotCompose(f"{title} a second time", expected="each technique once", action="Remove one of the two")
