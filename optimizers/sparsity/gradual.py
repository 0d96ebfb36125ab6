"""Zeros that come little by little while the other weights learn. Imports torch: import it inside functions only."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from core.sparsity import SchedulePoint
from optimizers.sparsity.zeros import Selection, lowest, prunable

Criterion = Literal["magnitude", "movement"]

RISES_UNTIL = 2 / 3
"""Share of the training in which sparsity rises; afterwards the zeros stay where they are."""
_CHANGES = 50
"""How often the zeros are chosen anew while sparsity rises."""


def risen(share_of_rise: float) -> float:
    """The share of the wanted sparsity at a moment of its rise, both from 0 to 1: 1 - (1 - t)^3.

    Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878, equation 1, from a dense network.
    """
    return 1 - (1 - share_of_rise) ** 3


class Gradual:
    """Masks whose share of zeros rises along the cubic schedule; a weight that is masked keeps its value behind it.

    By magnitude those weights are masked whose value is smallest. By movement those that have moved towards zero most:
    each step adds -weight x gradient to a weight's score, masked or not, and the lowest scores are masked (Sanh, Wolf
    and Rush 2020, https://arxiv.org/abs/2005.07683). Masked weights do not learn; chosen anew, others may take their
    place.
    """

    def __init__(self, selection: Selection, criterion: Criterion) -> None:
        self._selection, self._criterion = selection, criterion
        self._weights: dict[str, Tensor] = {}
        self._values: dict[str, Tensor] = {}
        self._scores: dict[str, Tensor] = {}
        self._gone: dict[str, Tensor] = {}
        self._steps, self._changes = 0, 0
        self._points: list[tuple[int, float]] = []

    @property
    def schedule(self) -> tuple[SchedulePoint, ...]:
        """How sparsity rose so far."""
        return tuple(SchedulePoint(step=step, sparsity=sparsity) for step, sparsity in self._points)

    def attach(self, network: nn.Module) -> None:
        """Take the network as it is: all weights are unmasked."""
        self._weights = dict(prunable(network, keep_ends=self._selection.keep_ends))
        self._values = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._gone = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in self._weights.items()}
        if self._criterion == "movement":
            self._scores = {name: torch.zeros_like(weight) for name, weight in self._values.items()}

    def after_backward(self) -> None:
        """Follow where weights are pulled, and let masked ones rest."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                if name in self._scores:
                    self._scores[name].addcmul_(self._values[name], weight.grad, value=-1)
                weight.grad.masked_fill_(self._gone[name], 0)

    def after_step(self, share_done: float) -> None:
        """Choose the zeros anew where the schedule says so, and set them."""
        self._steps += 1
        for name, weight in self._weights.items():
            self._values[name] = torch.where(self._gone[name], self._values[name], weight.detach())
        changes = math.floor(_CHANGES * min(1.0, share_done / RISES_UNTIL) + 1e-9)
        if changes > self._changes:
            self._changes = changes
            self._choose(self._selection.share * risen(changes / _CHANGES))
        for name, weight in self._weights.items():
            weight.copy_(self._values[name].masked_fill(self._gone[name], 0))

    def _choose(self, share: float) -> None:
        scores = self._scores or {name: value.abs() for name, value in self._values.items()}
        self._gone = lowest(scores, replace(self._selection, share=share))
        gone = sum(int(mask.sum()) for mask in self._gone.values())
        self._points.append((self._steps, gone / sum(mask.numel() for mask in self._gone.values())))

    def state_dict(self) -> dict[str, Any]:
        """The settings, and what has become of each weight."""
        return {
            "settings": [*astuple(self._selection), self._criterion],
            "progress": [self._steps, self._changes],
            "points": list(self._points),
            "values": dict(self._values),
            "scores": dict(self._scores),
            "gone": dict(self._gone),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another of the same settings left off, with the network it left."""
        self._steps, self._changes = state["progress"]
        self._points = [tuple(point) for point in state["points"]]
        for kept, given in (
            (self._values, state["values"]),
            (self._scores, state["scores"]),
            (self._gone, state["gone"]),
        ):
            for name, tensor in kept.items():
                kept[name] = given[name].to(tensor.device)
