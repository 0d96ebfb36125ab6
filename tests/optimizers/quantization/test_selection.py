from __future__ import annotations

import pytest
import torch
from torch import nn

from core.errors import BadInput
from optimizers.quantization.selection import kept_layers, kind_of, layers_of
from sample_models.architectures import depthwise_cnn
from tests.optimizers.conftest import TinyTransformer

X = torch.zeros(1, 1, 12, 12)


def test_layers_come_in_the_order_in_which_they_are_called() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x))

    assert list(layers_of(Backwards(), torch.zeros(1, 4))) == ["first", "last"]


def test_looking_at_a_network_in_training_teaches_it_nothing_and_leaves_it_in_training() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval(), nn.Dropout(), nn.BatchNorm2d(2))
    before = {name: each.clone() for name, each in network.state_dict().items()}
    layers_of(network, torch.randn(4, 1, 12, 12))
    assert all(torch.equal(each, before[name]) for name, each in network.state_dict().items())
    assert [each.training for each in network.modules()] == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("head",), {"head": "head"}),
        (("blocks.0",), dict.fromkeys(["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"], "blocks.0")),
        (("*.qkv",), {"blocks.0.attn.qkv": "*.qkv", "blocks.1.attn.qkv": "*.qkv"}),
        (("Conv2d",), {"patch_embed": "Conv2d"}),
        (("head", "h*"), {"head": "head"}),
        ((), {}),
    ],
)
def test_a_pattern_is_a_name_a_parent_a_wildcard_or_a_kind(patterns: tuple[str, ...], expected: dict[str, str]) -> None:
    layers = layers_of(TinyTransformer().eval(), X)
    if patterns == ("blocks.0",):
        expected = {f"blocks.0.{name}": pattern for name, pattern in expected.items()}
    assert kept_layers(layers, patterns) == expected


def test_a_pattern_that_fits_nothing_is_refused_with_the_names_there_are() -> None:
    layers = layers_of(TinyTransformer().eval(), X)
    with pytest.raises(BadInput, match=r"'tail'.*patch_embed.*Conv2d, Linear"):
        kept_layers(layers, ("tail",))


def test_depthwise_convolutions_are_a_kind_of_their_own() -> None:
    kinds = {kind_of(layer) for layer in layers_of(depthwise_cnn().eval(), torch.zeros(1, 1, 28, 28)).values()}
    assert kinds == {"Conv2d", "depthwise Conv2d", "Linear"}
