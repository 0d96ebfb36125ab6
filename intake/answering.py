"""Whatever a network returns, as logits[N, classes] of an RGB image. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import BadInput
from intake.preprocessing import Preprocessing

_NAMES = ("logits", "out")
"""Under which libraries return the answer beside other things."""
_STEADY = 1e-2
"""How much of the largest answer two that should be the same may differ by; another order of sums changes far less."""


class Answering(nn.Module):
    """A network whose channels are turned round before, or whose answer is taken out of what it returns."""

    def __init__(self, network: nn.Module, *, turns: bool, pick: str | int | None) -> None:
        super().__init__()
        self.network, self.turns, self.pick = network, turns, pick

    def forward(self, x: Tensor) -> Tensor:
        """float32 logits[N, classes] of x[N, C, H, W], its channels in RGB order."""
        returned = self.network(x.flip(1) if self.turns else x)
        return torch.flatten(_taken(returned, self.pick), 1)


def answering(network: nn.Module, wanted: Preprocessing) -> tuple[nn.Module, tuple[str, ...]]:
    """The network in eval mode, wrapped only where it has to be, and what was done, a sentence each.

    Raises `BadInput` where it fails on such images or returns nothing that could be a number for each class.
    """
    network = network.eval()
    returned = _tried(network, _noise(wanted))
    pick = _where(returned)
    answer = _taken(returned, pick)
    if answer.dim() < 2 or answer.flatten(1).shape != answer.shape[:2] or answer.shape[0] != 2:
        raise BadInput(
            f"For 2 images the network returns numbers[{', '.join(map(str, answer.shape))}]",
            expected="numbers[2, classes]",
            action="Bring a network that classifies images",
        )
    turns = wanted.colour == "BGR"
    notes = tuple(_notes(returned, pick, turns, answer))
    needs_none = pick is None and not turns and answer.dim() == 2
    return network if needs_none else Answering(network, turns=turns, pick=pick).eval(), notes


def classes_of(network: nn.Module, wanted: Preprocessing) -> int:
    """How many classes it tells apart.

    Raises `BadInput` where what it gives is a single number or not finite, or is another one when it is asked again or
    about one image alone.
    """
    x = _noise(wanted)
    answer = _tried(network, x)
    if not bool(answer.isfinite().all()):
        raise BadInput(
            "The network answers noise with numbers that are not finite",
            expected="finite numbers",
            action="Look for NaN or infinite weights, or for a division by zero",
        )
    if answer.shape[1] < 2:
        raise BadInput(
            "The network gives a single number for an image",
            expected="a number for each class, two at least",
            action="Bring a network with one output for each class",
        )
    _require_steady(network, x, answer)
    return int(answer.shape[1])


def _require_steady(network: nn.Module, x: Tensor, answer: Tensor) -> None:
    allowed = _STEADY * max(float(answer.abs().max()), 1e-9)
    if float((_tried(network, x) - answer).abs().max()) > allowed:
        raise BadInput(
            "The network gives other answers each time to the same images",
            expected="the same ones, in eval mode",
            action="Look for dropout or noise that is active outside of training, as `F.dropout(x)` is",
        )
    if float((_tried(network, x[:1]) - answer[:1]).abs().max()) > allowed:
        raise BadInput(
            "The network answers an image otherwise when another one is beside it",
            expected="answers that do not depend on the batch",
            action="Look for normalisation over the batch, as by BatchNorm without running statistics",
        )


def _noise(wanted: Preprocessing) -> Tensor:
    """x[2, C, H, W]: two images that share neither mean nor spread, so that normalising them together shows."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, wanted.channels, wanted.height, wanted.width, generator=generator)
    return x * torch.tensor((1.0, 2.0)).view(2, 1, 1, 1) + torch.tensor((0.0, 1.0)).view(2, 1, 1, 1)


def _tried(network: nn.Module, x: Tensor) -> Any:
    """What it returns. Raises `BadInput`."""
    try:
        with torch.no_grad():
            return network(x)
    except Exception as error:  # a network of somebody else's may raise anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise BadInput(
            f"The network fails on images [2, {', '.join(map(str, x.shape[1:]))}]: {first}",
            expected="images of the size and with the channels that it was made for",
            action="Correct the size and the colours of its input",
        ) from None


def _where(returned: Any) -> str | int | None:
    """Under what the answer lies; None where it is all that is returned. Raises `BadInput` where there is none."""
    if isinstance(returned, Tensor):
        return None
    for name in _NAMES:
        inside = returned.get(name) if isinstance(returned, Mapping) else getattr(returned, name, None)
        if isinstance(inside, Tensor):
            return name
    places = returned if isinstance(returned, Mapping) else range(len(returned)) if _is_list(returned) else ()
    for place in places:
        if isinstance(returned[place], Tensor):
            found: str | int = place
            return found
    raise BadInput(
        f"The network returns a {type(returned).__name__} without a tensor",
        expected="logits, as a tensor or under the name `logits`",
        action="Bring a network that returns a number for each class",
    )


def _taken(returned: Any, pick: str | int | None) -> Tensor:
    if pick is None:
        found = returned
    elif isinstance(returned, Mapping) or isinstance(pick, int):
        found = returned[pick]
    else:
        found = getattr(returned, pick)
    assert isinstance(found, Tensor)
    return found


def _is_list(returned: Any) -> bool:
    return isinstance(returned, tuple | list)


def _notes(returned: Any, pick: str | int | None, turns: bool, answer: Tensor) -> list[str]:
    notes = []
    if isinstance(pick, str):
        notes.append(f"The network returns several things: `{pick}` is taken as the answer.")
    elif pick is not None:
        notes.append(f"The network returns {len(returned)} things: the first tensor is taken as the answer.")
    if turns:
        notes.append("The network wants blue first: its channels are turned round before its first layer.")
    rows = answer.flatten(1)
    if bool((rows >= 0).all()) and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-4):
        notes.append("The network seems to end in a softmax: what it answers are taken for logits all the same.")
    return notes
