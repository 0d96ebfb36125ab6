"""Reasons for refusing a precision that more than one runtime shares."""

from __future__ import annotations

from importlib.util import find_spec

from core.bundle import Situation
from core.errors import CannotCompose

_AMPERE = (8, 0)


def why_not_installed(module: str, title: str) -> str | None:
    """One sentence when the module cannot be found, else None; nothing is imported."""
    return None if find_spec(module) else f"{title} is not installed: pip install {module}"


def refuse_fp16_on_cpu(situation: Situation) -> None:
    """Raises `CannotCompose`: CPUs have no fast fp16 arithmetic, so it runs several times slower than fp32."""
    if situation.precision == "fp16" and situation.device.kind == "cpu":
        raise CannotCompose(
            "fp16 on a CPU",
            expected="fp32 or bf16, because CPUs compute fp16 at least four times slower than fp32",
            action="Choose bf16 as the precision, or a GPU as the device",
        )


def refuse_bf16_before_ampere(situation: Situation) -> None:
    """Raises `CannotCompose`: NVIDIA GPUs before Ampere (compute capability 8.0) only emulate bf16."""
    capability = situation.device.compute_capability
    if situation.precision == "bf16" and capability is not None and capability < _AMPERE:
        raise CannotCompose(
            f"bf16 on {situation.device.name}, whose compute capability is {capability[0]}.{capability[1]}",
            expected="8.0 (Ampere) or newer for bf16",
            action="Choose fp16 as the precision",
        )
