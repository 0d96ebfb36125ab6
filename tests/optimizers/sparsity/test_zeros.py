from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from optimizers.sparsity.zeros import Selection, count_zeros, prunable, sparsify
from tests.optimizers.conftest import TinyNet, TinyTransformer


class WithTorchAttention(nn.Module):
    """An attention layer of PyTorch's own, between an embedding and a head."""

    def __init__(self, key_width: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 8)
        self.attention = nn.MultiheadAttention(8, 2, kdim=key_width, vdim=key_width, add_bias_kv=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)


NETWORKS = {"convolutions": TinyNet, "transformer": TinyTransformer, "attention of torch": WithTorchAttention}
every_network = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)


def reference_targets(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """What torch.nn.utils.prune is told to prune."""
    targets = [
        (module, name)
        for module in network.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("weight") and not isinstance(module, nn.Embedding) and parameter.ndim > 1
    ]
    assert len(targets) > 2
    return targets


def zeros_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value == 0 for name, value in network.state_dict().items()}


@every_network
@pytest.mark.parametrize("share", [0.1, 0.7, 0.95])
@pytest.mark.parametrize("everywhere_alike", [True, False], ids=["uniform", "global"])
def test_the_zeros_are_those_of_torchs_own_pruning(
    build: type[nn.Module], share: float, everywhere_alike: bool
) -> None:
    network = build().eval()
    reference = copy.deepcopy(network)
    targets = reference_targets(reference)
    if everywhere_alike:
        for module, name in targets:
            prune.l1_unstructured(module, name, share)
    else:
        prune.global_unstructured(targets, prune.L1Unstructured, amount=share)
    for module, name in targets:
        prune.remove(module, name)
    ours = sparsify(network, Selection(share, everywhere_alike, keep_ends=False))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, reference.state_dict()[name]), name


@every_network
def test_what_is_left_has_its_value_and_zeros_have_no_sign(build: type[nn.Module]) -> None:
    """Signs of zeros would be noise that a compressed file has to keep."""
    network = build()
    sparse = sparsify(network, Selection(0.6, everywhere_alike=False, keep_ends=False))
    before, after = network.state_dict(), sparse.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert set(changed) <= set(prunable(network))
    for name in changed:
        gone = (after[name] == 0) & (before[name] != 0)
        assert torch.equal(after[name][~gone], before[name][~gone])
        assert not after[name][gone].signbit().any()


def test_a_ranking_over_all_layers_takes_more_where_weights_are_smaller() -> None:
    network = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    with torch.no_grad():
        network[0].weight *= 0.1
    alike, ranked = (count_zeros(sparsify(network, Selection(0.5, each, keep_ends=False))) for each in (True, False))
    assert alike == {"0.weight": 200, "1.weight": 200}
    assert sum(ranked.values()) == 400
    assert ranked["0.weight"] > 300


def test_zeros_that_are_there_already_count() -> None:
    network = nn.Linear(10, 10)
    with torch.no_grad():
        network.weight[:4] = 0
    sparse = sparsify(network, Selection(0.5, everywhere_alike=False, keep_ends=False))
    assert count_zeros(sparse) == {"weight": 50}
    assert (sparse.weight[:4] == 0).all()


def test_the_first_and_the_last_layer_can_stay_dense() -> None:
    network = TinyNet()
    sparse = sparsify(network, Selection(0.7, everywhere_alike=False, keep_ends=True))
    assert list(prunable(network)) == ["stem.0.weight", "block.0.weight", "head.weight"]
    assert list(prunable(network, keep_ends=True)) == ["block.0.weight"]
    assert torch.equal(sparse.stem[0].weight, network.stem[0].weight)
    assert torch.equal(sparse.head.weight, network.head.weight)
    assert count_zeros(sparse, keep_ends=True)["block.0.weight"] == round(0.7 * network.block[0].weight.numel())


@pytest.mark.parametrize(
    ("key_width", "projections"), [(None, ["in_proj"]), (5, ["q_proj", "k_proj", "v_proj"])], ids=["joint", "separate"]
)
def test_attention_projections_are_pruned_and_biases_norms_and_embeddings_are_not(
    key_width: int | None, projections: list[str]
) -> None:
    attention = [f"attention.{name}_weight" for name in projections]
    assert list(prunable(WithTorchAttention(key_width))) == [*attention, "attention.out_proj.weight", "head.weight"]


def test_a_weight_that_two_layers_share_counts_once_and_stays_shared() -> None:
    network = nn.Sequential(nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 10))
    network[2].weight = network[0].weight
    sparse = sparsify(network, Selection(0.5, everywhere_alike=True, keep_ends=False))
    assert count_zeros(sparse) == {"0.weight": 50}
    assert sparse[0].weight is sparse[2].weight


def test_a_network_stored_channels_last_gets_the_same_zeros() -> None:
    network = TinyNet()
    selection = Selection(0.5, everywhere_alike=False, keep_ends=False)
    plain = zeros_of(sparsify(network, selection))
    other = zeros_of(sparsify(copy.deepcopy(network).to(memory_format=torch.channels_last), selection))
    assert all(torch.equal(plain[name], other[name]) for name in plain)
