from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from optimizers.quantization.fake_quant import RoundedInput, RoundedWeight, fake_quantized, freeze_ranges, stripped
from optimizers.quantization.quantizer import LayerGrid, TensorGrid
from optimizers.quantization.twin import outputs_of, rounded, twin
from tests.optimizers.conftest import TinyNet
from tests.optimizers.quantization.plain import input_grid, weight_grid

NAMES = ("stem.0", "block.0", "head")
X = torch.randn(8, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def grids_of(network: nn.Module, *, per_channel: bool) -> dict[str, LayerGrid]:
    inputs, _ = outputs_of(network, NAMES, X)
    return {
        name: LayerGrid(
            weight_grid(network.get_submodule(name).weight.detach().numpy(), per_channel=per_channel),  # type: ignore[union-attr,operator]
            input_grid(inputs[name].numpy()),
        )
        for name in NAMES
    }


@pytest.mark.parametrize("per_channel", [True, False])
def test_before_training_it_rounds_exactly_as_the_quantizer_does(per_channel: bool) -> None:
    network = TinyNet().eval()
    grids = grids_of(network, per_channel=per_channel)
    with torch.inference_mode():
        torch.testing.assert_close(fake_quantized(network, grids)(X), twin(network, grids)(X), rtol=1e-4, atol=1e-4)


def test_the_scale_of_a_weight_follows_it_as_the_quantizer_would_choose_it() -> None:
    weight = torch.randn(4, 6)
    grid = weight_grid(weight.numpy())
    moved = weight * torch.tensor([[3.0], [1.0], [0.5], [2.0]])
    expected = rounded(moved, weight_grid(moved.numpy()))
    torch.testing.assert_close(RoundedWeight(weight, grid)(moved), expected)


def test_gradients_pass_through_rounding_but_not_through_clipping() -> None:
    x = torch.tensor([-1.0, 0.13, 0.4, 9.0], requires_grad=True)
    RoundedInput(TensorGrid(8, 0, 255, np.float32(1 / 255), np.int32(0))).eval()(x).sum().backward()  # type: ignore[arg-type]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_ranges_follow_the_batches_until_they_are_frozen() -> None:
    network = fake_quantized(TinyNet().eval(), grids_of(TinyNet().eval(), per_channel=True)).train()
    entry = network.get_submodule("stem.0.rounds_input")
    first = entry.range.clone()  # type: ignore[operator,union-attr]
    network(X)
    network(3 * X)
    second = entry.range.clone()  # type: ignore[operator,union-attr]
    assert not torch.equal(first, second)
    freeze_ranges(network)
    network(9 * X)
    assert torch.equal(second, entry.range)  # type: ignore[arg-type]


def test_nothing_moves_while_it_is_evaluated() -> None:
    network = fake_quantized(TinyNet().eval(), grids_of(TinyNet().eval(), per_channel=True)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(9 * X)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_clipped_range_stays_clipped_in_proportion() -> None:
    grid = TensorGrid(8, 0, 255, np.float32(2 / 255), np.int32(0))  # type: ignore[arg-type]
    clipping = RoundedInput(grid).train()
    x = torch.linspace(0, 4, 100)
    for _ in range(200):
        clipping(x)
    assert float(clipping(x).max()) == pytest.approx(2, rel=0.01), "half of what is seen, as calibration chose"
    for _ in range(300):
        clipping(2 * x)
    assert float(clipping(2 * x).max()) == pytest.approx(4, rel=0.01)


def test_stripped_it_is_the_float_network_with_the_trained_weights() -> None:
    network = TinyNet().eval()
    trainee = fake_quantized(network, grids_of(network, per_channel=False))
    optimizer = torch.optim.SGD(trainee.parameters(), 0.1)
    trainee(X).square().mean().backward()
    optimizer.step()
    weights = trainee.get_submodule("head").parametrizations.weight.original.detach().clone()  # type: ignore[union-attr]
    plain = stripped(trainee)
    assert set(plain.state_dict()) == set(network.state_dict())
    assert torch.equal(plain.get_submodule("head").weight, weights)  # type: ignore[arg-type]
    assert not torch.equal(weights, network.head.weight)
    fresh = copy.deepcopy(network)
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(plain(X), fresh.eval()(X))


def test_a_copy_learns_apart_from_its_original() -> None:
    network = TinyNet().eval()
    one = fake_quantized(network, grids_of(network, per_channel=True)).train()
    other = copy.deepcopy(one)
    other(X)
    other(5 * X)
    mine, theirs = (each.get_submodule("stem.0.rounds_input").range for each in (one, other))
    assert not torch.equal(mine, theirs)  # type: ignore[arg-type]
