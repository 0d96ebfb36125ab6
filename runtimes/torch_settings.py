"""How PyTorch serves a program: memory layout, and what its compiler is asked to try."""

from __future__ import annotations

from typing import Literal

from core.settings import choice
from runtimes.runtime import EngineSettings

_MODES = {
    "default": "Default",
    "reduce-overhead": "Reduce overhead",
    "max-autotune": "Max autotune",
    "max-autotune-no-cudagraphs": "Max autotune without CUDA graphs",
}


class PyTorchSettings(EngineSettings):
    """How images and weights lie in memory."""

    layout: Literal["channels_last", "contiguous"] = choice(
        "channels_last",
        title="Memory layout",
        help="Channels last keeps the channels of a pixel together, which suits the fast kernels of convolutions; "
        "contiguous keeps each channel together, as PyTorch does unasked.",
        labels={"channels_last": "Channels last", "contiguous": "Contiguous"},
    )

    def label(self) -> str:
        """What is not as usual: `contiguous`."""
        return "contiguous" if self.layout == "contiguous" else ""

    @property
    def compile_mode(self) -> str | None:
        """What `torch.compile` is told; None where nothing is compiled."""
        return None

    @property
    def packs_weights(self) -> bool:
        """Whether weights become constants of the compiled code."""
        return False


class CompileSettings(PyTorchSettings):
    """What the compiler is asked to try, too."""

    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = choice(
        "default",
        title="Compile mode",
        help="Default compiles fastest. Reduce overhead records CUDA graphs on a GPU, so that the host launches one "
        "thing per call. Max autotune times several kernels for each product and keeps the fastest: minutes.",
        labels=_MODES,
    )
    freeze: bool = choice(
        False,
        title="Freeze weights",
        help="Makes constants of the weights and lays them out as this CPU's kernels want them. In FP32 on one Zen 4 "
        "core at batch 1 that took EfficientNet-Lite0 from 13.7 to 8.9 ms and the sample ResNet from 2.1 to 1.5 ms, "
        "but a student network from 0.19 to 0.25 ms. Every batch size is then compiled for by itself. On CPUs only.",
    )

    def label(self) -> str:
        """What is not as usual: `contiguous, max autotune, frozen`."""
        mode = "" if self.mode == "default" else _MODES[self.mode].lower()
        return ", ".join(part for part in (super().label(), mode, "frozen" if self.freeze else "") if part)

    @property
    def compile_mode(self) -> str | None:
        """What `torch.compile` is told."""
        return self.mode

    @property
    def packs_weights(self) -> bool:
        """Whether weights become constants of the compiled code."""
        return self.freeze
