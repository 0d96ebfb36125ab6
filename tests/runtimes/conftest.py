"""A tiny network that no runtime may get wrong: strides, a residual sum, BatchNorm with real statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.bundle import ModelBundle, Precision
from core.data import DataSplits, InputContract, Split
from core.devices import Device, find_device
from core.errors import Unavailable
from runtimes import RUNTIMES, Artifact
from runtimes.torch_session import torch_threads

CLASSES = 10


class TinyNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8 * 4 * 4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.stem(x)
        features = nn.functional.max_pool2d(features + self.block(features), 3)
        return self.head(features.flatten(1))


@pytest.fixture(scope="session")
def cpu() -> Device:
    return find_device("cpu")


@pytest.fixture(scope="session")
def bundle() -> ModelBundle:
    return make_bundle()


@pytest.fixture(scope="session")
def bundle_in() -> Callable[[Precision], ModelBundle]:
    return make_bundle


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and the network's weights around it."""

    artifact: Artifact
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    trains: bool
    """Whether the network was in train mode afterwards."""


@pytest.fixture(scope="session")
def exported(bundle: ModelBundle, cpu: Device, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """A runtime's export of the bundle on one thread, once for all tests: compiling takes long."""

    @cache
    def export(key: str) -> Exported:
        if reason := RUNTIMES[key].why_unavailable(cpu):
            pytest.skip(reason)
        before = weights_of(bundle)
        try:
            with torch_threads(1):
                artifact = RUNTIMES[key].export(bundle, tmp_path_factory.mktemp(key))
        except Unavailable as reason:  # what converts it is not installed
            pytest.skip(str(reason))
        return Exported(artifact, before, weights_of(bundle), bundle.module.training)

    return export


def weights_of(bundle: ModelBundle) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in bundle.module.state_dict().items()}


def make_bundle(precision: Precision = "fp32") -> ModelBundle:
    """Trained a little, so that BatchNorm's statistics are not its initial ones; left in train mode on purpose."""
    torch.manual_seed(0)
    network = TinyNet()
    for _ in range(5):
        network(torch.randn(16, 3, 12, 12) * 2 + 1)
    contract = InputContract(3, 12, 12, (120.0, 110.0, 100.0), (60.0, 65.0, 70.0), tuple("abcdefghij"))
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 12, 12), np.uint8)
    split = Split(pixels, np.arange(7, dtype=np.int64)[:, None])
    return ModelBundle("tiny", "cnn", network.train(), contract, DataSplits(split, split, split), precision)
