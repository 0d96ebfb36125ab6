from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from optimizers.training.loop import Plan
from optimizers.training.schedules import optimizer_of, schedule_of


def rates(plan: Plan, steps: int) -> list[float]:
    """The learning rate of every step."""
    optimizer = optimizer_of([nn.Parameter(torch.zeros(1))], plan)
    schedule, seen = schedule_of(optimizer, plan, steps), []
    for _ in range(steps):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return seen


def test_cosine_rises_linearly_and_falls_along_half_a_wave() -> None:
    seen = rates(Plan(1, 0.5, schedule="cosine", warm_up=0.2), 50)
    np.testing.assert_allclose(np.diff(seen[:11]), 0.5 / 11)
    share = (np.arange(10, 50) - 10) / 40
    np.testing.assert_allclose(seen[10:], 0.5 * (1 + np.cos(np.pi * share)) / 2)


def test_constant_only_warms_up() -> None:
    seen = rates(Plan(1, 0.5, schedule="constant", warm_up=0.1), 50)
    assert seen[5:] == [0.5] * 45
    assert 0 < seen[0] < seen[4] < 0.5


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize(
    ("warm_up", "steps"),
    [
        (0, 8),
        (0.1, 10),
        (0.25, 4),
        (0.5, 2),
        (0.9, 30),
        (0.3, 1),
        (0.9, 1),
        (0.3, 2),
        (0.9, 3),
        (0.3, 5),
        (0.9, 2),
        (0, 1),
    ],
)
def test_every_warm_up_and_length_works(schedule: str, warm_up: float, steps: int) -> None:
    seen = rates(Plan(1, 0.5, schedule=schedule, warm_up=warm_up), steps)  # type: ignore[arg-type]
    assert min(seen) >= 0
    assert max(seen) == pytest.approx(0.5)
    peak = int(np.argmax(seen))
    assert peak <= max(1, round(warm_up * steps))
    assert all(before >= after for before, after in pairwise(seen[peak:]))


def test_one_cycle_moves_momentum_the_other_way() -> None:
    plan = Plan(1, 0.5, optimizer="sgd")
    optimizer = optimizer_of([nn.Parameter(torch.zeros(1))], plan)
    group, schedule = optimizer.param_groups[0], schedule_of(optimizer, plan, 100)
    first, momentum = group["lr"], group["momentum"]
    for _ in range(29):
        optimizer.step()
        schedule.step()
    assert first == pytest.approx(0.5 / 25)
    assert group["lr"] == pytest.approx(0.5)
    assert group["momentum"] < momentum
    assert group["nesterov"]


def test_sgd_is_nesterovs() -> None:
    """Sutskever et al. 2013 as torch documents it: v = 0.9 v + g, w = w - rate (g + 0.9 v), decay within g."""
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = optimizer_of([weight], Plan(1, 0.1, optimizer="sgd", weight_decay=0.05))
    expected, velocity = 3.0, 0.0
    for _ in range(4):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
        gradient = 2 * expected + 0.05 * expected
        velocity = 0.9 * velocity + gradient
        expected -= 0.1 * (gradient + 0.9 * velocity)
    assert float(weight.detach()) == pytest.approx(expected, rel=1e-5)
