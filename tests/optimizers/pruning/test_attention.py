"""Attention blocks are found by whatever names they have, and answer alike after a head went."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from optimizers.pruning.attention import attentions, heads_by_layer, refreshing

DIM, HEADS = 16, 4
NAMES = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("query_proj", "key_proj", "value_proj"))


class Attention(nn.Module):
    """Written as in transformers: projections of their own, the width of a head and, maybe, a scale that is kept."""

    def __init__(self, names: tuple[str, str, str], heads: str, *, scaled: bool) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Linear(DIM, DIM))
        self.names = names
        setattr(self, heads, HEADS)
        self.attention_head_size = DIM // HEADS
        if scaled:
            self.scaling = self.attention_head_size**-0.5

    def scores(self, x: Tensor) -> Tensor:
        """[heads, tokens, tokens]."""
        queries, keys = (
            getattr(self, name)(x).view(len(x), -1, self.attention_head_size).transpose(0, 1) for name in self.names[:2]
        )
        return queries @ keys.transpose(1, 2) * getattr(self, "scaling", self.attention_head_size**-0.5)


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("heads", ["num_heads", "num_attention_heads", "n_heads"])
def test_a_block_is_found_by_its_names(names: tuple[str, str, str], heads: str) -> None:
    network = nn.Sequential(nn.Linear(DIM, DIM), Attention(names, heads, scaled=True))
    (block,) = attentions(network)
    assert block.module is network[1]
    assert (block.heads, block.width) == (HEADS, DIM)
    assert heads_by_layer(network) == {getattr(network[1], name): HEADS for name in names}


@pytest.mark.parametrize("scaled", [True, False])
def test_scores_stay_what_they_were_without_what_was_cut(scaled: bool) -> None:
    torch.manual_seed(0)
    network = Attention(NAMES[0], "num_attention_heads", scaled=scaled)
    refresh, x = refreshing(network, whole_heads=False), torch.randn(5, DIM)
    kept = [row for row in range(DIM) if row % 4 < 2]  # the first half of each head
    with torch.no_grad():
        for layer in (network.query, network.key):
            layer.weight[[row for row in range(DIM) if row not in kept]] = 0
            layer.bias[[row for row in range(DIM) if row not in kept]] = 0
        silenced = network.scores(x)
        for layer in (network.query, network.key, network.value):
            layer.weight, layer.bias = nn.Parameter(layer.weight[kept]), nn.Parameter(layer.bias[kept])
        refresh(network)
        torch.testing.assert_close(network.scores(x), silenced)
    assert (network.num_attention_heads, network.attention_head_size) == (HEADS, 2)


def test_whole_heads_leave_the_width_of_the_others() -> None:
    network = Attention(NAMES[0], "num_attention_heads", scaled=False)
    refresh = refreshing(network, whole_heads=True)
    for layer in (network.query, network.key, network.value):
        layer.weight = nn.Parameter(layer.weight[4:])
    before = network.query.weight.clone()
    refresh(network)
    assert (network.num_attention_heads, network.attention_head_size) == (3, 4)
    assert torch.equal(network.query.weight, before)
