"""What holds weights at zero while others learn. Imports torch: import it inside functions only."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn


class Masks(Protocol):
    """Which weights of a network in training are zero, for as long as it is trained."""

    def attach(self, network: nn.Module) -> None:
        """Take the network whose weights these are, on its device, before its first step."""

    def after_backward(self) -> None:
        """Look at the gradients of a step, before the optimizer uses them."""

    def after_step(self, share_done: float) -> None:
        """Set to zero what has to be, after the optimizer moved the weights; `share_done` of all steps are done."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers from which `load_state_dict` goes on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another left off."""
