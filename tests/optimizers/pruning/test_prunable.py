"""What can be pruned, in networks of every build: cut ones are compared with the original, silenced by its weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.functional import linear

from benchmarks.silenced import make_unlike, silenced
from core.bundle import ModelBundle
from optimizers.pruning.channel_graph import ChannelGraph
from optimizers.pruning.channels import Cut, prune
from optimizers.pruning.prunable import NOT_CALLED, TOKENS, structure_of
from tests.optimizers.conftest import CLASSES, TinyNet, TinyTransformer, bundle_of

CUT = Cut(ratio=0.3, importance="l2", everywhere_alike=True, round_to=1)
X = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(3))


class Joining(nn.Module):
    """Concatenation, a split of which one piece is used twice, and a flattening that is not pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 6, 3, stride=2), nn.Conv2d(1, 8, 3, stride=2)
        self.mixed = nn.Sequential(nn.Conv2d(14, 12, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.first, self.second = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
        self.hidden, self.head = nn.Linear(4 * 25, 10), nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        second, first = reversed(self.mixed(torch.cat([self.left(x), self.right(x)], 1)).chunk(2, 1))
        features = self.second(second) + self.first(first) * self.second(second).sigmoid()
        return self.head(self.hidden(features.flatten(1)).relu())


class Grouped(nn.Module):
    """Channel groups, a depthwise convolution, squeeze and excitation, and GroupNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3), nn.GroupNorm(4, 16), nn.ReLU())
        self.grouped = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.Sigmoid()
        )
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.depthwise(self.grouped(x))
        return self.head((x * self.squeeze(x)).mean((2, 3)))


class Scaled(nn.Module):
    """A block as ConvNeXt has: channels last, LayerNorm, and a learned scale that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(1, 12, 4, stride=4), nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(12), nn.Linear(12, 20), nn.Linear(20, 12)
        self.gamma = nn.Parameter(torch.randn(12))
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inner = self.fc2(self.fc1(self.norm(self.depthwise(x).permute(0, 2, 3, 1))).relu())
        return self.head((x + (self.gamma * inner).permute(0, 3, 1, 2)).mean((2, 3)))


class Awkward(nn.Module):
    """What no graph can follow: a width in the code, a shuffle, a weight without its layer, channels against places."""

    def __init__(self) -> None:
        super().__init__()
        self.counted, self.shuffled = nn.Conv2d(1, 8, 3, stride=3), nn.Conv2d(8, 8, 1)
        self.uncalled, self.across, self.fine = nn.Linear(8, 8), nn.Linear(16, 16), nn.Conv2d(8, 16, 1)
        self.last, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shuffled(self.counted(x).reshape(-1, 8, 4, 4))
        x = x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        x = x + linear(x.mean((2, 3)), self.uncalled.weight)[..., None, None]
        x = x + self.across(x.flatten(2)).unflatten(2, (4, 4))
        return self.head(self.last(self.fine(x).relu()).mean((2, 3)))


def built(kind: type[nn.Module]) -> ModelBundle:
    torch.manual_seed(0)
    network = kind().eval()
    make_unlike(network)
    return bundle_of(network)


@pytest.mark.parametrize(
    ("kind", "unchanged"),
    [(TinyNet, []), (Joining, []), (Grouped, []), (Scaled, []), (TinyTransformer, ["patch_embed", "head"])],
)
def test_a_cut_network_is_the_original_with_the_same_channels_silenced(
    kind: type[nn.Module], unchanged: list[str]
) -> None:
    bundle = built(kind)
    cut = prune(bundle, CUT)
    layers = {name: layer for name, layer in bundle.module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    same = [name for name, layer in layers.items() if cut.get_submodule(name).weight.shape == layer.weight.shape]
    assert same == unchanged
    torch.testing.assert_close(cut(X), silenced(bundle.module, cut)(X), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(cut(X), bundle.module(X), rtol=1e-2)


class PerHead(TinyTransformer):
    """Heads that are counted elsewhere too, as by Swin's position biases."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.rand(1, 2, 1, 1))
        for block in self.blocks:
            block.attn.proj.register_forward_pre_hook(self._strengthen)

    def _strengthen(self, layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        batch, tokens, width = args[0].shape
        heads = args[0].reshape(batch, tokens, -1, 8).transpose(1, 2)
        return ((heads * self.strength).transpose(1, 2).reshape(batch, tokens, width),)


def test_whole_heads_go_where_nothing_else_counts_them() -> None:
    bundle = built(TinyTransformer)
    cut = prune(bundle, replace(CUT, ratio=0.5, attention="heads", mlp=False))
    assert [block.attn.num_heads for block in cut.blocks] == [1, 1]
    torch.testing.assert_close(cut(X), silenced(bundle.module, cut)(X), rtol=1e-4, atol=1e-5)
    network = built(PerHead).module
    structure = structure_of(network, X[:1], whole_heads=True)
    assert all(layer in structure.kept for layer in structure.heads)


def test_silencing_notices_channels_that_changed_places() -> None:
    bundle = built(Joining)
    cut = prune(bundle, CUT)
    wrong = copy.deepcopy(cut)
    wrong.first.weight.data = wrong.first.weight.data.flip(0)
    assert not torch.allclose(wrong(X), silenced(bundle.module, cut)(X), rtol=1e-2)


def test_what_cannot_be_followed_is_kept_with_the_reason_and_the_rest_is_cut() -> None:
    bundle = built(Awkward)
    network = copy.deepcopy(bundle.module)
    structure = structure_of(network, X[:1])
    names = {layer: name for name, layer in network.named_modules()}
    kept = {names[layer]: why for layer, why in structure.kept.items()}
    assert {"counted", "shuffled", "uncalled", "across", "head"} == set(kept)
    assert kept["uncalled"] == NOT_CALLED
    assert "number of its channels" in kept["counted"]
    cut = prune(bundle, CUT)
    assert cut.fine.out_channels < 16
    assert cut.last.out_channels < 8
    torch.testing.assert_close(cut(X), silenced(bundle.module, cut)(X), rtol=1e-4, atol=1e-5)


def test_a_transformer_keeps_the_width_of_its_tokens() -> None:
    network = built(TinyTransformer).module
    structure = structure_of(network, X[:1])
    assert structure.kept[network.patch_embed] == TOKENS
    assert structure.heads == {block.attn.qkv: 2 for block in network.blocks}
    assert set(structure.mlps) == {block.mlp.fc1 for block in network.blocks}


@pytest.mark.parametrize("kind", [Scaled, Awkward, TinyTransformer])
def test_trying_leaves_the_network_and_the_random_numbers_as_they_were(kind: type[nn.Module]) -> None:
    network = built(kind).module
    before = {name: (id(value), value.clone()) for name, value in network.named_parameters()}
    facts = {name: str(module) for name, module in network.named_modules()}
    answer, state = network(X), torch.get_rng_state()
    structure_of(network, X[:1])
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: str(module) for name, module in network.named_modules()} == facts
    for name, value in network.named_parameters():
        assert id(value) == before[name][0]
        assert torch.equal(value, before[name][1])
    assert torch.equal(network(X), answer)


@pytest.mark.parametrize("kind", [TinyNet, Grouped, TinyTransformer])
def test_groups_are_those_of_torch_pruning(kind: type[nn.Module]) -> None:
    network = built(kind).module
    ours = ChannelGraph.of(network, X[:1])
    theirs = torch_pruning.DependencyGraph().build_dependency(network, X[:1], verbose=False)
    groups = [list(graph.get_all_groups(root_module_types=(nn.Conv2d, nn.Linear))) for graph in (ours, theirs)]
    for ours_, theirs_ in zip(*groups, strict=True):
        assert _members(ours_) == _members(theirs_)


def _members(group: torch_pruning.Group) -> dict[tuple[nn.Module, str], list[tuple[int, int]]]:
    """For each layer and side: its channels, each with the channel of the first layer that it goes with."""
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)
    items = (item for item in group.items if isinstance(item.dep.target.module, kinds))
    return {
        (item.dep.target.module, item.dep.handler.__name__): sorted(zip(item.idxs, item.root_idxs, strict=True))
        for item in items
    }
