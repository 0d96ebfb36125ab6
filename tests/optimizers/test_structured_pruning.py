from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle
from core.data import DataSplits, Split
from core.errors import BadInput, NothingDone
from core.macs import count_macs
from core.progress import Note, Progress, result_of
from optimizers.channels import widths
from optimizers.structured_pruning import StructuredPruning
from optimizers.technique import Context
from optimizers.training import Plan, evaluate, train
from tests.optimizers.conftest import CLASSES, DATA, TinyNet, bundle_of, events_and_result, images


class OneConvolution(nn.Module):
    """Its channels matter by their own weights and by those that read them."""

    def __init__(self, channels: int = 12) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, channels, 3)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, CLASSES)
        nn.init.uniform_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


def prune(bundle: ModelBundle, context: Context, **settings: Any) -> nn.Module:
    return result_of(StructuredPruning(**{"epochs": 0, "round_to": 1} | settings).apply(bundle, context)).module


def normalised(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return scores / scores.mean()


def kept_rows(original: torch.Tensor, pruned: torch.Tensor) -> list[int]:
    """Which rows of the original are left, in order."""
    return [int(torch.nonzero((original == row).flatten(1).all(1)).item()) for row in pruned]


def group_norms(network: OneConvolution, p: int) -> np.ndarray[Any, Any]:
    """Per channel: the mean of |.|^p over its filter, its BatchNorm scale and the weights that read it."""
    conv, norm, head = (each.weight.detach().numpy() for each in (network.conv, network.norm, network.head))
    return np.mean([(abs(conv) ** p).sum((1, 2, 3)), abs(norm) ** p, (abs(head) ** p).sum(0)], axis=0)


@pytest.mark.parametrize("importance", ["l1", "l2", "bn_scale", "taylor"])
def test_the_channels_with_the_highest_scores_stay(context: Context, importance: str) -> None:
    network = OneConvolution()
    bundle = bundle_of(network.eval())
    scores = {
        "l1": lambda: group_norms(network, 1),
        "l2": lambda: group_norms(network, 2),
        "bn_scale": lambda: network.norm.weight.detach().abs().numpy(),
        "taylor": lambda: taylor_scores(bundle),
    }[importance]()
    pruned = prune(bundle, context, ratio=0.5, importance=importance)
    assert kept_rows(network.conv.weight, pruned.conv.weight) == sorted(np.argsort(scores)[6:])


def taylor_scores(bundle: ModelBundle) -> np.ndarray[Any, Any]:
    """Sum of |weight x gradient| over what a channel's removal would remove: Molchanov et al. 2019."""
    network: Any = bundle.module
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.train.pixels))
    loss = nn.functional.cross_entropy(network(x), torch.tensor(bundle.data.train.targets))
    conv, head = torch.autograd.grad(loss, [network.conv.weight, network.head.weight])
    own, reading = (network.conv.weight * conv).abs().sum((1, 2, 3)), (network.head.weight * head).abs().sum(0)
    return ((own + reading) / 2).detach().numpy()


def test_random_importance_is_the_seeds(context: Context) -> None:
    bundle = bundle_of(OneConvolution(64).eval())
    first, again = (prune(bundle, context, importance="random").conv.weight for _ in range(2))
    other = Context(context.device, 1, 1, context.folder, context.build_network)
    assert torch.equal(first, again)
    assert not torch.equal(first, prune(bundle, other, importance="random").conv.weight)


def test_a_pruned_network_answers_as_the_original_without_those_channels(context: Context) -> None:
    network = OneConvolution().eval()
    pruned = prune(bundle_of(network), context, ratio=0.25)
    kept = kept_rows(network.conv.weight, pruned.conv.weight)
    x = torch.randn(5, 1, 12, 12)
    features = network.norm(network.conv(x)).relu().mean((2, 3))
    expected = features[:, kept] @ network.head.weight[:, kept].T + network.head.bias
    torch.testing.assert_close(pruned(x), expected)


def test_half_of_the_channels_is_a_quarter_of_the_arithmetic_between_them(
    bundle: ModelBundle, context: Context
) -> None:
    pruned = prune(bundle, context, ratio=0.5, round_to=4)
    assert widths(pruned) == {"stem.0": 8, "block.0": 8, "head": CLASSES}
    half = TinyNet(width=8)
    assert count_macs(pruned, bundle.contract) == count_macs(half, bundle.contract)
    assert count_macs(pruned, bundle.contract) <= count_macs(bundle.module, bundle.contract) / 2


@pytest.mark.parametrize(("round_to", "width"), [(1, 11), (4, 8), (8, 8)])
def test_widths_are_rounded_down(bundle: ModelBundle, context: Context, round_to: int, width: int) -> None:
    assert widths(prune(bundle, context, ratio=0.3, round_to=round_to))["stem.0"] == width


def test_one_ranking_takes_more_where_less_is_needed(context: Context) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network.extend([nn.Flatten(), nn.Linear(16, CLASSES)])
    with torch.no_grad():
        network[2].weight[::2] *= 0.01
        network[6].weight[:, ::2] *= 0.01
    uniform = widths(prune(bundle_of(network), context, ratio=0.25))
    ranked = widths(prune(bundle_of(network), context, ratio=0.25, scope="global"))
    assert (uniform["0"], uniform["2"]) == (12, 12)
    assert ranked["0"] + ranked["2"] == 24
    assert ranked["2"] < 12 < ranked["0"]


@pytest.mark.parametrize("settings", [{"ratio": 0.9, "round_to": 8}, {"ratio": 0.8, "round_to": 16}])
def test_a_ratio_that_empties_a_layer_is_refused_by_name(
    bundle: ModelBundle, context: Context, settings: dict[str, Any]
) -> None:
    with pytest.raises(BadInput, match=r"none in (stem|block)\.0.*Lower the pruning ratio"):
        prune(bundle, context, **settings)


def test_a_network_too_narrow_to_prune_is_refused(context: Context) -> None:
    with pytest.raises(NothingDone, match="Raise the pruning ratio"):
        prune(bundle_of(TinyNet(width=1)), context, ratio=0.05)


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_a_transformer_loses_the_same_dimensions_of_queries_keys_and_values(
    transformer: ModelBundle, context: Context, scope: str
) -> None:
    """Checked against the original with those dimensions set to zero: the scores, and so the answers, must agree."""
    pruned = prune(transformer, context, ratio=0.5, scope=scope)
    masked = copy.deepcopy(transformer.module)
    for block, reference in zip(pruned.blocks, masked.blocks, strict=True):
        heads, old, new = reference.attn.num_heads, reference.attn.head_dim, block.attn.head_dim
        rows = original_rows(reference.attn.qkv, block.attn.qkv, width=heads * new).reshape(3, heads, new)
        assert (rows[0] + heads * old == rows[1]).all()
        assert (rows[1] + heads * old == rows[2]).all()
        assert (rows[0] // old == np.arange(heads)[:, None]).all()
        keep_only(reference.attn.qkv, rows.ravel())
        keep_only(reference.mlp.fc1, kept_rows(reference.mlp.fc1.weight, block.mlp.fc1.weight))
    assert widths(pruned)["patch_embed"] == 16
    assert sum(widths(pruned).values()) < sum(widths(transformer.module).values())
    x = torch.randn(5, 1, 12, 12)
    torch.testing.assert_close(pruned(x), masked(x))


def original_rows(before: nn.Linear, after: nn.Linear, *, width: int) -> np.ndarray[Any, Any]:
    """Which rows are left; queries are compared by direction, because they are scaled to the new head width."""
    directions = [nn.functional.normalize(layer.weight.detach(), dim=1) for layer in (before, after)]
    likeness = directions[1] @ directions[0].T
    assert len(after.weight) == 3 * width
    assert likeness.amax(1).min() > 0.9999
    return likeness.argmax(1).numpy()


def keep_only(layer: nn.Linear, rows: Any) -> None:
    gone = torch.ones(len(layer.weight), dtype=torch.bool)
    gone[torch.as_tensor(np.asarray(rows))] = False
    with torch.no_grad():
        layer.weight[gone] = 0
        layer.bias[gone] = 0


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_fine_tuning_recovers_what_the_cut_cost(context: Context, guidance: float) -> None:
    """With guidance alone no label is used, so that what is learned comes from the unpruned network."""
    data = DataSplits(images(512, seed=3), DATA.calibrate, DATA.test)
    torch.manual_seed(0)
    untrained = bundle_of(TinyNet(), data=data)
    trained = result_of(train(untrained.module, untrained, context, Plan(12, 0.02, batch_size=32)))
    shuffled = DataSplits(Split(data.train.pixels, np.roll(data.train.labels, 1)), data.calibrate, data.test)
    bundle = bundle_of(trained, data=shuffled if guidance else data)
    steps = StructuredPruning(ratio=0.5, epochs=20, guidance=guidance, learning_rate=0.01).apply(bundle, context)
    events, pruned = events_and_result(steps)
    asked = [event for event in events if isinstance(event, Progress) and event.unit == "images"]
    assert bool(asked) is bool(guidance)
    cut = prune(bundle, context, ratio=0.5, round_to=4)
    assert evaluate(pruned.module, bundle) > max(0.9, evaluate(cut, bundle) + 0.1)


def test_the_note_says_what_changed(bundle: ModelBundle, context: Context) -> None:
    events = StructuredPruning(ratio=0.5, epochs=0).apply(bundle, context)
    (note,) = [event for event in events if isinstance(event, Note)]
    before, after = (sum(p.numel() for p in TinyNet(width).parameters()) for width in (16, 8))
    assert f"Parameters {before:,} → {after:,}" in note.text
    assert "stem.0 16 → 8, block.0 16 → 8." in note.text
