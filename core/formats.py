"""Number formats that only some GPUs multiply."""

from __future__ import annotations

from collections.abc import Mapping

from core.devices import Device

FIRST_CAPABILITY: Mapping[str, tuple[int, int]] = {"fp8": (8, 9), "nvfp4": (10, 0)}
"""Compute capability of the first NVIDIA GPUs that multiply each."""

_NAMES = {"fp8": "FP8", "nvfp4": "NVFP4"}
_GENERATIONS = {"fp8": "Ada, Hopper", "nvfp4": "Blackwell"}


def why_not_multiplied(number_format: str, device: Device) -> tuple[str, str] | None:
    """What was asked of the device and what it would take, as two parts of a sentence; None where it multiplies it.

    >>> why_not_multiplied("fp8", Device("cuda:0", "cuda", "A100", 1, (8, 0)))
    ('FP8 on A100, whose compute capability is 8.0', 'an NVIDIA GPU of compute capability 8.9 (Ada, Hopper) or newer')
    """
    needed, has = FIRST_CAPABILITY.get(number_format), device.compute_capability
    if needed is None or (has is not None and has >= needed):
        return None
    received = f"{_NAMES[number_format]} on {device.name}"
    if has is not None:
        received += f", whose compute capability is {has[0]}.{has[1]}"
    generations = _GENERATIONS[number_format]
    return received, f"an NVIDIA GPU of compute capability {needed[0]}.{needed[1]} ({generations}) or newer"
