"""Reasons for refusing a place in a recipe that more than one technique shares."""

from __future__ import annotations

from core.bundle import Situation
from core.devices import Device
from core.errors import CannotCompose
from core.quantization import TrainingPrecision

REDUCED = ("fp16", "bf16")
_AMPERE = (8, 0)
_BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


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


def require_arithmetic(situation: Situation, precision: TrainingPrecision) -> None:
    """Raises `CannotCompose` where the device computes in that precision slowly or not at all."""
    device = situation.device
    if precision == "fp16":
        _refuse_slow_fp16(device)
    elif precision == "bf16":
        _refuse_slow_bf16(device)
    elif precision == "tf32":
        _refuse_missing_tf32(device)


def _refuse_slow_fp16(device: Device) -> None:
    if device.kind == "cpu":
        raise CannotCompose(
            "fp16 on a CPU",
            expected="bf16 there, because CPUs compute fp16 4 to 21 times slower than fp32",
            action="Choose bf16 as the precision, or a GPU as the device",
        )


def _refuse_slow_bf16(device: Device) -> None:
    capability = device.compute_capability
    if device.kind == "cpu" and not device.cpu_flags & _BF16_INSTRUCTIONS:
        raise CannotCompose(
            f"bf16 on {device.name}",
            expected="a CPU with AVX512-BF16 or AMX instructions, because others only emulate bf16, many times slower",
            action="Choose INT8 quantization, or a GPU as the device",
        )
    if capability is not None and capability < _AMPERE:
        raise CannotCompose(
            f"bf16 on {device.name}, whose compute capability is {capability[0]}.{capability[1]}",
            expected="8.0 (Ampere) or newer",
            action="Choose fp16 as the precision",
        )


def _refuse_missing_tf32(device: Device) -> None:
    if device.compute_capability is None or device.compute_capability < _AMPERE:
        raise CannotCompose(
            f"tf32 on {device.name}",
            expected="a GPU of compute capability 8.0 (Ampere) or newer, because nothing else multiplies tf32",
            action="Choose another precision of training",
        )
