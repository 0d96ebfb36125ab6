from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from optimizers.quantization.corrections import corrected, smoothed
from optimizers.quantization.folding import folded
from optimizers.quantization.quantizer import LayerGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.twin import outputs_of, rounded, twin
from tests.optimizers.conftest import TinyTransformer
from tests.optimizers.quantization.plain import weight_grid


def coarse(network: nn.Module, x: torch.Tensor, bits: int = 3) -> dict[str, LayerGrid]:
    """Weights on so few values that outputs shift."""
    layers = layers_of(network, x)
    return {
        name: LayerGrid(weight_grid(layer.weight.detach().numpy(), bits=bits, per_channel=False), None)  # type: ignore[union-attr,operator]
        for name, layer in layers.items()
    }


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Convolutional()
    for _ in range(5):
        network(torch.randn(16, 1, 12, 12) + 1)
    return network.eval()


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(32, 1, 12, 12) + 1


def test_corrected_biases_give_the_float_means_again(network: nn.Module, x: torch.Tensor) -> None:
    merged, _ = folded(network, x)
    grids = coarse(merged, x)
    names = tuple(grids)
    mended = corrected(merged, grids, x, biases=True)
    _, wanted = outputs_of(merged, names, x)
    _, plain = outputs_of(twin(merged, grids), names, x)
    _, better = outputs_of(twin(mended, grids), names, x)
    for name in names:
        dims = [dim for dim in range(wanted[name].ndim) if dim != 1]
        off = (plain[name].mean(dims) - wanted[name].mean(dims)).abs().max()
        assert off > 0.01
        torch.testing.assert_close(better[name].mean(dims), wanted[name].mean(dims), rtol=1e-3, atol=1e-4)
    assert all(
        torch.equal(mended.get_submodule(name).weight, merged.get_submodule(name).weight)  # type: ignore[arg-type]
        for name in names
    )


def test_renormalising_is_estimating_batchnorm_anew_on_rounded_weights(network: nn.Module, x: torch.Tensor) -> None:
    """The reference leaves BatchNorm where it is, rounds the first layer, and lets BatchNorm see the batch."""
    merged, names = folded(network, x)
    grids = {"conv1": coarse(merged, x)["conv1"]}
    network.norm1.running_mean, network.norm1.running_var = statistics(network.conv1(x))  # type: ignore[operator,union-attr]
    merged, names = folded(network, x)
    mended = corrected(merged, grids, x, renormalised=names)

    reference = copy.deepcopy(network)
    gain = reference.norm1.weight / torch.sqrt(reference.norm1.running_var + reference.norm1.eps)  # type: ignore[operator,union-attr]
    gain = gain.reshape(-1, 1, 1, 1)
    reference.conv1.weight = nn.Parameter(rounded(reference.conv1.weight * gain, grids["conv1"].weight) / gain)  # type: ignore[operator,union-attr]
    reference.norm1.running_mean, reference.norm1.running_var = statistics(reference.conv1(x))  # type: ignore[operator,union-attr]
    expected = reference.norm1(reference.conv1(x))  # type: ignore[operator]

    layer = copy.deepcopy(mended.conv1)
    ratio = layer.weight / merged.conv1.weight  # type: ignore[operator,union-attr]
    layer.weight = nn.Parameter(rounded(merged.conv1.weight, grids["conv1"].weight) * ratio)  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(layer(x), expected, rtol=1e-2, atol=1e-2)  # type: ignore[operator]
    assert not torch.allclose(ratio, torch.ones(()), atol=1e-3)


def statistics(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return output.detach().mean((0, 2, 3)), output.detach().var((0, 2, 3))


def test_nothing_is_changed_where_nothing_is_asked_for(network: nn.Module, x: torch.Tensor) -> None:
    merged, _ = folded(network, x)
    same = corrected(merged, coarse(merged, x), x)
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in merged.state_dict().items())


def test_smoothing_changes_no_answer_and_follows_the_formula() -> None:
    torch.manual_seed(0)
    network = TinyTransformer().eval()
    for block in network.blocks:
        block.norm1.weight.data[3] = 40  # an outlier channel
    x = torch.randn(16, 1, 12, 12)
    result, taken = smoothed(network, x, alpha=0.5)
    assert taken == {f"blocks.{index}.{name}" for index in (0, 1) for name in ("attn.qkv", "mlp.fc1")}
    torch.testing.assert_close(result(x), network(x), rtol=1e-3, atol=1e-3)

    given = outputs_of(network, ("blocks.0.norm1",), x)[1]["blocks.0.norm1"].abs().amax((0, 1)).numpy()
    weight = network.blocks[0].attn.qkv.weight.detach().numpy()
    scale = np.sqrt(given) / np.sqrt(np.abs(weight).max(0))
    np.testing.assert_allclose(result.blocks[0].attn.qkv.weight.detach().numpy(), weight * scale, rtol=1e-4)  # type: ignore[index,union-attr]
    smoother = outputs_of(result, ("blocks.0.norm1",), x)[1]["blocks.0.norm1"].abs().amax((0, 1)).numpy()
    assert smoother.max() / np.median(smoother) < given.max() / np.median(given)


def test_a_norm_that_also_feeds_a_shortcut_is_not_smoothed() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm(x)
            return y + self.linear(y)

    network = Shortcut().eval()
    network.norm.weight.data[0] = 50
    result, taken = smoothed(network, torch.randn(4, 6), alpha=0.5)
    assert taken == frozenset()
    assert torch.equal(result.linear.weight, network.linear.weight)  # type: ignore[union-attr,arg-type]
