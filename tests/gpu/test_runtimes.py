from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Precision, Situation
from core.data import DataSplits, Floats, InputContract, Split
from core.devices import Device, find_device
from runtimes import RUNTIMES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no NVIDIA GPU on this machine"),
]
CONTRACT = InputContract(3, 32, 32, (120.0,) * 3, (60.0,) * 3, tuple("abcdefghij"))
TOLERANCES: dict[Precision, float] = {"fp32": 5e-3, "fp16": 1e-2, "bf16": 5e-2}
"""Of the largest logit. In fp32, PyTorch's convolutions round their inputs to TF32's 10 bits by default."""


class Net(nn.Module):
    """Convolutions with BatchNorm and a tensor made in forward, which has to follow the network to the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.head = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x).flatten(1)
        return self.head(features * torch.linspace(0.5, 1.5, 256, device=x.device, dtype=x.dtype))


@pytest.fixture(scope="module")
def gpu() -> Device:
    return find_device("cuda:0")


@pytest.fixture(scope="module")
def bundle() -> Callable[[Precision], ModelBundle]:
    torch.manual_seed(0)
    network = Net()
    for _ in range(5):
        network(torch.randn(16, 3, 32, 32) * 2 + 1)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 32, 32), np.uint8)
    split = Split(pixels, np.zeros((9, 1), np.int64))
    return lambda precision: ModelBundle(
        "net", "cnn", network.eval(), CONTRACT, DataSplits(split, split, split), precision
    )


@pytest.mark.parametrize("key", ["pytorch", "torch_compile"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_logits_are_those_of_the_cpu(
    key: str, precision: Precision, bundle: Callable[[Precision], ModelBundle], gpu: Device, tmp_path: Path
) -> None:
    runtime, given = RUNTIMES[key], bundle(precision)
    if reason := runtime.why_unavailable(gpu):
        pytest.skip(reason)
    runtime.check(Situation("cnn", 0, 10, gpu, key, precision=precision))
    x: Floats = given.contract.prepare(given.data.test.pixels)
    with torch.no_grad():
        expected = given.module(torch.from_numpy(x)).numpy()
    with runtime.open(runtime.export(given, tmp_path), gpu, threads=1) as session:
        nine, one = session.run(x), session.run(x[:1])
        before = torch.cuda.max_memory_allocated()
        session.bind(x)()
    assert nine.dtype == np.float32
    assert before > 0
    tolerance = TOLERANCES[precision] * np.abs(expected).max()
    np.testing.assert_allclose(nine, expected, atol=tolerance)
    np.testing.assert_allclose(one, expected[:1], atol=tolerance)
