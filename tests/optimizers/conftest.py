"""Two tiny networks on images that can be told apart, small enough to train in a test."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Situation
from core.data import DataSplits, InputContract, Split
from core.devices import Device, find_device
from core.progress import Event, Steps
from optimizers.technique import Context
from sample_models.architectures import VisionTransformer

T = TypeVar("T")
CLASSES = 4
CONTRACT = InputContract(1, 12, 12, (60.0,), (70.0,), ("top", "bottom", "middle", "nothing"))
BF16_CPU = Device("cpu", "cpu", "a CPU with bf16", 2**30, cpu_flags=frozenset({"avx2", "avx512_bf16"}))


class TinyNet(nn.Module):
    """A stem, a residual block and a linear layer."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.stem(x)
        return self.head((features + self.block(features)).mean((2, 3)))


class TinyTransformer(VisionTransformer):
    """The sample transformer with 9 tokens, 2 blocks and 2 heads."""

    def __init__(self) -> None:
        super().__init__(classes=CLASSES, dim=16, depth=2, num_heads=2)
        self.pos_embed = nn.Parameter(torch.randn(1, 9, 16))


def images(count: int, *, seed: int) -> Split:
    """Noise with a bright band whose place is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = random.integers(0, 120, (count, 1, 12, 12), np.uint8)
    for row, label in zip(pixels, labels, strict=True):
        row[0, {0: slice(0, 4), 1: slice(8, 12), 2: slice(4, 8), 3: slice(0, 0)}[int(label)]] += 100
    return Split(pixels, labels.astype(np.int64)[:, None])


DATA = DataSplits(images(128, seed=0), images(64, seed=1), images(64, seed=2))


def events_and_result(steps: Steps[T]) -> tuple[list[Event], T]:
    """Every event of a generator, and its value."""
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as stop:
            return events, stop.value


def build_network(key: str) -> nn.Module:
    """Any name gives an untrained net that is half as wide."""
    return TinyNet(width=8)


def bundle_of(network: nn.Module, family: str = "cnn", data: DataSplits = DATA) -> ModelBundle:
    return ModelBundle("tiny", family, network, CONTRACT, data)  # type: ignore[arg-type]


@pytest.fixture
def bundle() -> ModelBundle:
    """Statistics of BatchNorm as if trained; left in train mode on purpose."""
    torch.manual_seed(0)
    network = TinyNet()
    for _ in range(5):
        network(torch.randn(16, 1, 12, 12) * 2 + 1)
    return bundle_of(network)


@pytest.fixture
def transformer() -> ModelBundle:
    torch.manual_seed(0)
    return bundle_of(TinyTransformer().eval(), "transformer")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(find_device("cpu"), 1, 0, tmp_path, build_network, runtime="onnxruntime")


def elsewhere(context: Context) -> Context:
    """The same in a folder of its own, where no checkpoint of an earlier training lies."""
    return replace(context, folder=Path(tempfile.mkdtemp(dir=context.folder)))


@pytest.fixture
def situation() -> Situation:
    """A trained CNN on a CPU that can do everything, to be served by OpenVINO."""
    return Situation("cnn", len(DATA.train), CLASSES, BF16_CPU, "openvino")
