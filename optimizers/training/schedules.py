"""The optimizer of a plan and its learning rate over time. Imports torch: import it inside functions only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

if TYPE_CHECKING:
    from optimizers.training.loop import Plan

_MOMENTUM = 0.9
_LONG_RISE = 4
"""Steps of warm-up from which on it does not matter whether the peak lies on a step or between two."""


def optimizer_of(parameters: Iterable[nn.Parameter], plan: Plan) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101), or SGD with Nesterov momentum 0.9."""
    if plan.optimizer == "sgd":
        decay, rate = plan.weight_decay, plan.learning_rate
        return SGD(parameters, rate, momentum=_MOMENTUM, nesterov=True, weight_decay=decay)
    return AdamW(parameters, plan.learning_rate, weight_decay=plan.weight_decay)


def schedule_of(optimizer: Optimizer, plan: Plan, steps: int) -> LRScheduler:
    """What sets the learning rate of each of so many steps; at least one of them has the plan's.

    One cycle is that of Smith and Topin 2017, https://arxiv.org/abs/1708.07120, with momentum cycled the other way;
    cosine that of Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983, without restarts.
    """
    if plan.schedule == "one_cycle":
        if steps == 1:
            return LambdaLR(optimizer, lambda step: 1.0)
        if plan.warm_up * steps >= _LONG_RISE:
            return OneCycleLR(optimizer, plan.learning_rate, total_steps=steps, pct_start=plan.warm_up)
        peak = max(0, min(round(plan.warm_up * steps) - 1, steps - 2))
        # A short rise ends on a step, so that the peak is reached; without one it ends just before the first, as torch
        # divides by its length.
        rise = (peak or -1e-6) + 1
        return OneCycleLR(optimizer, plan.learning_rate, total_steps=steps, pct_start=rise / steps)
    return LambdaLR(optimizer, _share_of_peak(plan, steps))


def _share_of_peak(plan: Plan, steps: int) -> Callable[[int], float]:
    """The learning rate of each step, counted from 0, as a share of the highest."""
    rise = min(round(plan.warm_up * steps), steps - 1)

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        if plan.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))

    return share
