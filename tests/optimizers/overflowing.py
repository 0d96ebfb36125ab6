"""A network whose values leave the range of fp16 in two places, one behind the other."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TakenApartNorm(nn.Module):
    """LayerNorm as many exporters write it: squares beyond 65,504 are infinite in fp16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias


class Exponential(nn.Module):
    """A softmax that does not take the largest value away first."""

    def forward(self, x: Tensor) -> Tensor:
        powers = (6 * x).exp()
        return powers / powers.sum(-1, keepdim=True)


class Overflowing(nn.Module):
    """Activations around 1,000 before a norm, and powers beyond 100,000 in a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.first = nn.Flatten(), nn.Linear(144, 16)
        self.norm, self.soft, self.head = TakenApartNorm(16), Exponential(), nn.Linear(16, 4)
        with torch.no_grad():
            self.first.weight.mul_(1000)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.soft(self.norm(self.first(self.flatten(x)))))
        return logits
