"""What an engine was built for and how, as a small file beside it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.bundle import Precision
from core.devices import Device
from core.errors import Unavailable

FACTS_FILE = "engine.json"


class EngineFacts(BaseModel):
    """Contents of `engine.json`."""

    model_config = ConfigDict(frozen=True)

    module: str
    """`tensorrt` or `tensorrt_rtx`."""
    version: str
    """Of the module; an engine opens in no other."""
    compute_capability: tuple[int, int] | None
    gpu: str
    """The GPU that it was built on, or the generation that it was built for."""
    is_ahead: bool
    """Whether that GPU was elsewhere, so that the engine has not been run."""
    precision: Precision
    batches: tuple[int, int, int]
    """Smallest, usual and largest batch, in images."""
    effort: int
    """Optimisation level."""
    workspace_mib: int
    """Most memory of a layer's intermediate results in MiB; 0 for all there is."""
    skips_fours: bool
    """Whether kernels that skip zeros in the 2:4 pattern were allowed."""
    reused_timings: bool = False
    """Whether timings of earlier builds on this GPU were at hand."""


def write_facts(facts: EngineFacts, folder: Path) -> str:
    """Write `engine.json` into the folder; its name."""
    (folder / FACTS_FILE).write_text(facts.model_dump_json(indent=1) + "\n")
    return FACTS_FILE


def read_facts(folder: Path) -> EngineFacts | None:
    """What lies beside the engine; None for one of a version that wrote nothing, and for a file that is damaged."""
    try:
        return EngineFacts.model_validate_json((folder / FACTS_FILE).read_text())
    except (FileNotFoundError, ValidationError):
        return None


def refuse_elsewhere(facts: EngineFacts, device: Device, version: str) -> None:
    """Raises `Unavailable` for an engine of a GPU with another compute capability, or of another version of its module.

    Read before the engine is, because TensorRT says no more of a foreign one than that it does not open.
    """
    if facts.compute_capability and facts.compute_capability != device.compute_capability:
        has = _dotted(device.compute_capability) if device.compute_capability else "none"
        raise Unavailable(
            f"The engine was built for {facts.gpu} (compute capability {_dotted(facts.compute_capability)}), and "
            f"{device.name} has {has}",
            expected="a GPU of the same compute capability, because an engine consists of code for it",
            action="Run the recipe again on this GPU",
        )
    if facts.version != version:
        raise Unavailable(
            f"The engine was built by {facts.module} {facts.version}, and {version} is installed",
            expected="the same version, because engines are not carried over from one to another",
            action=f"Run the recipe again, or install {facts.module.replace('_', '-')}=={facts.version}",
        )


def _dotted(capability: tuple[int, int]) -> str:
    return "{}.{}".format(*capability)
