from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from core.reduced import float32_modules, in_float32, is_inside, reduced


class Squares(nn.Module):
    """Means of squares, which leave fp16 beyond 256, with a weight and a buffer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))
        self.register_buffer("shift", torch.randn(width))

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        x = x if scale is None else x * scale
        return x / x.square().mean(-1, keepdim=True).sqrt() * self.weight + self.shift, x.argmax(-1)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.squares, self.last = nn.Linear(8, 8), Squares(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.squares(1000 * self.first(x), scale=torch.ones((), dtype=x.dtype))[0])


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def test_only_marked_modules_stay_in_float32_and_their_weights_keep_every_bit(network: Network) -> None:
    low = reduced(in_float32(network, ["squares"]), torch.float16)
    assert {name: tensor.dtype for name, tensor in low.state_dict().items()} == {
        name: torch.float32 if name.startswith("squares") else torch.float16 for name in network.state_dict()
    }
    assert torch.equal(low.squares.weight, network.squares.weight)
    assert torch.equal(low.squares.shift, network.squares.shift)
    assert float32_modules(low) == ("squares",)


def test_a_marked_module_takes_and_gives_16_bits_but_computes_in_32(network: Network) -> None:
    x = torch.randn(4, 8)
    plain = reduced(copy.deepcopy(network), torch.float16)
    kept = reduced(in_float32(network, ["squares"]), torch.float16)
    output, places = kept.squares(torch.full((1, 8), 3e4, dtype=torch.float16))
    assert (output.dtype, places.dtype) == (torch.float16, torch.int64)
    assert not plain(x.half()).float().allclose(network(x), atol=0.05)
    assert kept(x.half()).float().allclose(network(x), atol=0.05)


def test_marking_copies_and_changes_nothing_in_float32(network: Network) -> None:
    marked = in_float32(network, ["squares"])
    assert float32_modules(network) == ()
    assert list(marked.state_dict()) == list(network.state_dict())
    x = torch.randn(4, 8)
    assert torch.equal(marked(x), network(x))


def test_without_a_mark_it_is_what_torch_itself_makes_of_it(network: Network) -> None:
    ours, theirs = reduced(copy.deepcopy(network), torch.bfloat16), copy.deepcopy(network).to(torch.bfloat16)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    x = torch.randn(4, 8).bfloat16()
    assert torch.equal(ours(x), theirs(x))


def test_a_weight_shared_with_the_outside_is_in_16_bits_there(network: Network) -> None:
    network.first.bias = network.squares.weight
    low = reduced(in_float32(network, ["squares"]), torch.float16)
    assert low.squares.weight.dtype == torch.float32
    assert low.first.bias.dtype == torch.float16


def test_a_mark_inside_another_is_not_named() -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    assert float32_modules(in_float32(network, ["0.0", "0", "1"])) == ("0", "1")


@pytest.mark.parametrize(
    ("name", "outer", "inside"),
    [("a.b", "a", True), ("a", "a", True), ("ab", "a", False), ("a", "a.b", False), ("a", "", True)],
)
def test_names_tell_what_is_inside_what(name: str, outer: str, inside: bool) -> None:
    assert is_inside(name, outer) is inside
