"""How the sample models are trained. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from core.data import InputContract, Split

BATCH = 256
PAD = 2


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome besides the network, the data and the seed."""

    optimizer: Literal["sgd", "adamw"]
    epochs: int
    max_lr: float
    weight_decay: float
    label_smoothing: float = 0.0

    def __str__(self) -> str:
        name = "SGD (Nesterov momentum 0.9)" if self.optimizer == "sgd" else "AdamW"
        return (
            f"{name}, batch {BATCH}, one-cycle learning rate up to {self.max_lr:g}, "
            f"weight decay {self.weight_decay:g}, label smoothing {self.label_smoothing:g}, "
            f"random {PAD}-pixel shifts and mirrors, fp32"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch and ask for deterministic convolutions; everything is as before afterwards."""
    # `enabled` has to be said: left out, these flags would switch cuDNN off.
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.random.fork_rng(), exact:
        torch.manual_seed(seed)
        yield


def train(
    network: nn.Module,
    data: Split,
    contract: InputContract,
    recipe: Recipe,
    *,
    device: str = "cpu",
    on_step: Callable[[int, int, Tensor], None] = lambda step, total, loss: None,
) -> None:
    """Train the network in place, in one pass of `recipe.epochs` over the data; it stays on the device.

    `on_step(step, total, loss)` is called after each step; reading the loss waits for the device.
    """
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    pixels, targets = torch.from_numpy(data.pixels).to(device), torch.from_numpy(data.targets.copy()).to(device)
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (contract.mean, contract.std))
    total = recipe.epochs * (len(data) // BATCH)
    optimizer = _optimizer(network, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.max_lr, total_steps=total, pct_start=0.25)
    for step, rows in enumerate(_batches(len(data), recipe.epochs, device), start=1):
        x = (augment(pixels[rows]).float() - mean) / std
        loss = cross_entropy(network(x), targets[rows], label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(step, total, loss.detach())


def augment(pixels: Tensor) -> Tensor:
    """Each image of pixels[N, C, H, W] shifted by up to `PAD` pixels and mirrored half of the time; gaps are black."""
    count, _, height, width = pixels.shape
    device = pixels.device
    shift = torch.randint(0, 2 * PAD + 1, (2, count, 1), device=device)
    rows, columns = shift[0] + torch.arange(height, device=device), shift[1] + torch.arange(width, device=device)
    columns = torch.where(torch.rand(count, 1, device=device) < 0.5, columns.flip(1), columns)
    padded = nn.functional.pad(pixels, (PAD,) * 4).permute(0, 2, 3, 1)
    image = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def count_correct(network: nn.Module, data: Split, contract: InputContract) -> int:
    """How many images of the split the network, on the CPU and in eval mode, gets right."""
    network.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(data), BATCH):
            part = Split(data.pixels[start : start + BATCH], data.labels[start : start + BATCH])
            predicted = network(torch.from_numpy(contract.prepare(part.pixels))).argmax(1)
            correct += int(part.is_correct(predicted.numpy()).sum())
    return correct


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=recipe.max_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), lr=recipe.max_lr, weight_decay=recipe.weight_decay)


def _batches(count: int, epochs: int, device: str) -> Iterator[Tensor]:
    """Row numbers of full batches, freshly shuffled each epoch."""
    for _ in range(epochs):
        yield from torch.randperm(count, device=device)[: count // BATCH * BATCH].view(-1, BATCH)
