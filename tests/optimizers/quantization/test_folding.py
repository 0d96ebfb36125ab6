from __future__ import annotations

import torch
from torch import nn

from optimizers.quantization.folding import folded
from sample_models.architectures import resnet
from tests.optimizers.conftest import TinyNet


def settled(network: nn.Module, *shape: int) -> nn.Module:
    """With statistics of BatchNorm as if trained."""
    for _ in range(3):
        network(torch.randn(8, *shape) * 2 + 1)
    return network.eval()


def test_a_folded_network_answers_the_same_without_batchnorm() -> None:
    torch.manual_seed(0)
    network = settled(resnet(widths=(4, 8, 8)), 1, 28, 28)
    x = torch.randn(4, 1, 28, 28)
    merged, names = folded(network, x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
    convolutions = {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert names == convolutions
    torch.testing.assert_close(merged(x), network(x), rtol=1e-4, atol=1e-4)


def test_the_given_network_stays_as_it_was() -> None:
    network = TinyNet().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded(network, torch.randn(2, 1, 12, 12))
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_layer_whose_output_also_goes_elsewhere_is_left_alone() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return (self.norm(y) - y).mean((2, 3))

    network = settled(Branches(), 1, 8, 8)
    x = torch.randn(2, 1, 8, 8)
    merged, names = folded(network, x)
    assert names == frozenset()
    torch.testing.assert_close(merged(x), network(x))


def test_a_layer_that_is_called_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(self.conv(x))).mean((2, 3))

    merged, names = folded(settled(Twice(), 1, 8, 8), torch.randn(2, 1, 8, 8))
    assert names == frozenset()
    assert isinstance(merged.get_submodule("norm"), nn.BatchNorm2d)
