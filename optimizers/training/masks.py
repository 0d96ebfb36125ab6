"""What holds weights at zero while others learn. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.utils import parametrize

from optimizers.sparsity.zeros import prunable


class Masks(Protocol):
    """Which weights of a network in training are zero, for as long as it is trained."""

    def attach(self, network: nn.Module) -> None:
        """Take the network whose weights these are, on its device, before its first step."""

    def after_backward(self) -> None:
        """Look at the gradients of a step, before the optimizer uses them; not called where they overflowed fp16."""

    def after_step(self, share_done: float) -> None:
        """Set to zero what has to be, after the optimizer moved the weights; `share_done` of all steps are done."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers from which `load_state_dict` goes on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another left off."""


class HeldZeros:
    """Prunable weights that are exactly zero at the start are so after every step; all else always moves."""

    def __init__(self) -> None:
        self._held: list[tuple[Tensor, Tensor]] = []

    def attach(self, network: nn.Module) -> None:
        """Remember where the zeros are."""
        weights = [weight.detach() for weight in _weights(network)]
        self._held = [(weight, weight == 0) for weight in weights if (weight == 0).any()]

    def after_backward(self) -> None:
        """Gradients do not matter."""

    def after_step(self, share_done: float) -> None:
        """Put the zeros back."""
        for weight, zeros in self._held:
            weight.masked_fill_(zeros, 0)

    def state_dict(self) -> dict[str, Any]:
        """Where the zeros are, in the order of the weights that have any."""
        return {"zeros": [zeros for _, zeros in self._held]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold the zeros of another, of the same network."""
        for (_, zeros), others in zip(self._held, state["zeros"], strict=True):
            zeros.copy_(others)


def _weights(network: nn.Module) -> Iterator[nn.Parameter]:
    """Prunable weights, and what stands behind those that are computed from others, as while rounding."""
    yield from prunable(network).values()
    for layer in network.modules():
        if parametrize.is_parametrized(layer, "weight"):
            yield layer.get_parameter("parametrizations.weight.original")
