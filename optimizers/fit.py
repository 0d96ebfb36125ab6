"""Reasons for refusing a place in a recipe that more than one technique shares."""

from __future__ import annotations

from collections.abc import Mapping

from core.bundle import Situation
from core.devices import Device
from core.errors import CannotCompose
from core.quantization import TrainingPrecision

REDUCED = ("fp16", "bf16")
KEEP_ONE = "Keep one quantizing step, as the last one"
"""The way out where a network is quantized twice."""
_BRING = "add its weights with the name of their architecture under Bring your own"
_AMPERE = (8, 0)
_BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def require_trainable(situation: Situation, title: str) -> None:
    """Raises `CannotCompose` unless the network is a float32 torch module here."""
    refuse_graph(situation, title)
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


def require_float(situation: Situation, title: str, *, takes_graphs: bool = False) -> None:
    """Raises `CannotCompose` unless the network is one in float32 that a quantizer can take: a torch module.

    With `takes_graphs` also a model that was brought as an ONNX graph.
    """
    if not takes_graphs:
        refuse_graph(situation, title)
    if situation.form != situation.brought_as or situation.precision not in ("fp32", *REDUCED):
        raise CannotCompose(
            f"{title} of a network that is quantized already",
            expected="a float network",
            action=KEEP_ONE
            if situation.applied
            else "Add the float network that it was made of, or measure this one as it is",
        )
    if situation.precision in REDUCED:
        raise CannotCompose(
            f"{title} after mixed precision in {situation.precision}",
            expected="a float32 network, because 8-bit values replace 16-bit ones and do not add to them",
            action="Remove one of the two",
        )


def refuse_for_graphs(situation: Situation, asked: Mapping[str, object]) -> None:
    """Raises `CannotCompose` for settings, by what they are called, that are not off and that no graph can follow."""
    wanted = [title for title, value in asked.items() if value]
    if situation.brought_as == "onnx" and wanted:
        raise CannotCompose(
            f"{' and '.join(wanted)} for a model that is an ONNX file",
            expected="the network as a torch module, whose layers can be computed one by one in float",
            action=f"Switch {'it' if len(wanted) == 1 else 'them'} off, or {_BRING}",
        )


def refuse_graph(situation: Situation, title: str) -> None:
    """Raises `CannotCompose` for a model that was brought as an ONNX graph."""
    if situation.brought_as == "onnx":
        raise CannotCompose(
            f"{title} of a model that is an ONNX file",
            expected="its weights as a named architecture, because a graph can be run and not taken apart or trained",
            action=f"{_BRING[0].upper()}{_BRING[1:]}, or let this model teach another one in Distillation",
        )


def require_training_images(situation: Situation, title: str, action: str) -> None:
    """Raises `CannotCompose` where there is nothing to learn from; the way out for a model of one's own is another."""
    if not situation.train_images:
        again = f"Add it again with a share to train on, or {action[0].lower()}{action[1:]}"
        unit = "texts" if situation.task == "text" else "images"
        raise CannotCompose(
            f"{title} for a model without training {unit}",
            expected=f"{unit} to train on",
            action=again if situation.is_own else action,
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
