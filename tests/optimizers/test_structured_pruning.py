from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.bundle import ModelBundle, Situation
from core.data import DataSplits, Split
from core.errors import BadInput, CannotCompose, NothingDone
from core.macs import count_macs
from core.progress import Note, Progress, result_of
from optimizers.pruning.channels import Cut, rank, widths
from optimizers.pruning.rounds import State
from optimizers.structured_pruning import StructuredPruning
from optimizers.technique import Context
from optimizers.training import checkpoints
from optimizers.training.loop import Plan, evaluate, train
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


@pytest.mark.parametrize("importance", ["l1", "l2", "bn_scale"])
def test_the_channels_with_the_highest_scores_stay(context: Context, importance: str) -> None:
    network = OneConvolution()
    bundle = bundle_of(network.eval())
    scores = {
        "l1": lambda: group_norms(network, 1),
        "l2": lambda: group_norms(network, 2),
        "bn_scale": lambda: network.norm.weight.detach().abs().numpy(),
    }[importance]()
    pruned = prune(bundle, context, ratio=0.5, importance=importance)
    assert kept_rows(network.conv.weight, pruned.conv.weight) == sorted(np.argsort(scores)[6:])


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


def test_a_ratio_that_empties_a_layer_is_refused_by_name(context: Context) -> None:
    with pytest.raises(BadInput, match=r"none in (stem|block)\.0.*Lower the pruning ratio"):
        prune(bundle_of(TinyNet(width=8)), context, ratio=0.9)


def test_rounding_never_empties_a_layer(bundle: ModelBundle, context: Context) -> None:
    assert widths(prune(bundle, context, ratio=0.9, round_to=8))["stem.0"] == 8
    with pytest.raises(NothingDone):
        prune(bundle, context, ratio=0.9, round_to=16)


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


def test_the_notes_say_what_changed_and_what_stayed(bundle: ModelBundle, context: Context) -> None:
    events = StructuredPruning(ratio=0.5, epochs=0).apply(bundle, context)
    changed, kept = [event.text for event in events if isinstance(event, Note)]
    before, after = (sum(p.numel() for p in TinyNet(width).parameters()) for width in (16, 8))
    assert f"Parameters {before:,} → {after:,}" in changed
    assert "stem.0 16 → 8, block.0 16 → 8." in changed
    assert kept == "Kept all their outputs: head (it gives the classes)."


@pytest.mark.parametrize("pattern", ["stem", "stem.0", "block.0"])
def test_layers_that_are_named_keep_their_outputs_and_so_does_what_is_joined_to_them(
    context: Context, pattern: str
) -> None:
    with pytest.raises(NothingDone):
        prune(bundle_of(TinyNet()), context, ratio=0.5, keep=(pattern,))


def test_a_pattern_that_fits_no_layer_is_refused(bundle: ModelBundle, context: Context) -> None:
    with pytest.raises(BadInput, match="No layer is called 'stern'"):
        prune(bundle, context, keep=("stern",))


def test_one_ranking_takes_no_more_of_a_layer_than_allowed(context: Context) -> None:
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(16, CLASSES))
    with torch.no_grad():
        network[2].weight[:14] *= 0.01
        network[5].weight[:, :14] *= 0.01
    ranked = {
        most: widths(prune(bundle_of(network), context, ratio=0.5, scope="global", max_ratio=most)) for most in (0.5, 1)
    }
    assert (ranked[1]["0"], ranked[1]["2"]) == (14, 2)
    assert (ranked[0.5]["0"], ranked[0.5]["2"]) == (8, 8)


def test_whole_heads_go(transformer: ModelBundle, context: Context) -> None:
    """Against the original with everything of those heads set to zero in the projection that reads them."""
    pruned = prune(transformer, context, ratio=0.5, attention="heads", mlp=False)
    masked = copy.deepcopy(transformer.module)
    for block, reference in zip(pruned.blocks, masked.blocks, strict=True):
        assert (block.attn.num_heads, block.attn.head_dim, block.mlp.fc1.out_features) == (1, 8, 32)
        left = kept_rows(reference.attn.proj.weight.T, block.attn.proj.weight.T)
        assert left in (list(range(8)), list(range(8, 16)))
        with torch.no_grad():
            reference.attn.proj.weight[:, [column for column in range(16) if column not in left]] = 0
    x = torch.randn(5, 1, 12, 12)
    torch.testing.assert_close(pruned(x), masked(x))


def test_attention_and_mlps_can_be_left_alone(transformer: ModelBundle, context: Context) -> None:
    pruned = prune(transformer, context, ratio=0.5, attention="none")
    assert [(block.attn.head_dim, block.mlp.fc1.out_features) for block in pruned.blocks] == [(8, 16)] * 2
    with pytest.raises(NothingDone):
        prune(transformer, context, ratio=0.5, attention="none", mlp=False)


def test_rounds_keep_equal_shares_and_rank_anew(context: Context) -> None:
    """64 channels become 40, 25 and 16, by a factor of 0.63 each."""
    network = TinyNet(64)
    bundle = bundle_of(network.eval())
    steps = StructuredPruning(ratio=0.75, rounds=3, epochs=1, round_to=1, scan=False).apply(bundle, context)
    events, result = events_and_result(steps)
    assert result.pruning is not None
    rounds = result.pruning.rounds
    assert [round(64 * (1 - each.ratio)) for each in rounds] == [40, 25, 16]
    assert [each.macs for each in rounds] == [count_macs(TinyNet(width), bundle.contract) for width in (40, 25, 16)]
    assert widths(result.module)["stem.0"] == 16
    (group,) = result.pruning.groups
    assert len(group.removed.integers) == len(set(group.removed.integers)) == 48
    progress = [event for event in events if isinstance(event, Progress) and event.unit == "steps"]
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert progress[-1].done == progress[-1].total
    assert len([event for event in events if isinstance(event, Progress) and event.doing == "asking the teacher"]) == 1


def test_a_number_of_multiply_accumulates_is_reached(context: Context) -> None:
    bundle = bundle_of(TinyNet(64).eval())
    steps = StructuredPruning(target="macs", speed_up=3, epochs=0, round_to=1, scan=False).apply(bundle, context)
    result = result_of(steps)
    reached = count_macs(bundle.module, bundle.contract) / count_macs(result.module, bundle.contract)
    assert abs(reached / 3 - 1) <= 0.02
    assert result.pruning is not None
    assert result.pruning.search is not None
    assert result.pruning.search.points[-1].value == pytest.approx(reached)
    assert result.pruning.search.points[-1].ratio == result.pruning.ratio


def test_a_measured_speed_up_is_reached_on_what_is_served(context: Context) -> None:
    """Half of the time of this engine does not shrink: 1.5 times the speed takes 3 times fewer multiply-accumulates."""
    bundle = bundle_of(TinyNet(64).eval())
    whole = count_macs(bundle.module, bundle.contract)

    class Served:
        size_bytes = 0

        def __init__(self, network: nn.Module) -> None:
            self.ms = 1 + count_macs(network, bundle.contract) / whole

        def run(self, x: Any) -> Any:
            return x

        def p50_ms(self) -> float:
            return self.ms

    serving = replace(context, serve=lambda candidate: nullcontext(Served(candidate.module)))
    technique = StructuredPruning(target="latency", speed_up=1.5, epochs=0, round_to=1, scan=False)
    result = result_of(technique.apply(bundle, serving))
    assert count_macs(result.module, bundle.contract) / whole == pytest.approx(1 / 3, rel=0.13)
    with pytest.raises(BadInput, match="nothing can be served"):
        result_of(technique.apply(bundle, context))


class Noisy:
    """An engine whose timings differ each time by up to a fifth, as in no second attempt."""

    size_bytes = 0
    random = np.random.default_rng(0)

    def __init__(self, bundle: ModelBundle) -> None:
        self.ms = count_macs(bundle.module, bundle.contract)

    def run(self, x: Any) -> Any:
        return x

    def p50_ms(self) -> float:
        return float(self.ms * self.random.uniform(0.9, 1.1))


def test_a_killed_run_goes_on_with_the_ratio_that_was_found(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 0.0)
    serving = replace(context, serve=lambda candidate: nullcontext(Noisy(candidate)))
    settings: dict[str, Any] = {"target": "latency", "speed_up": 3, "scope": "global", "round_to": 1, "scan": False}
    technique = StructuredPruning(**settings, epochs=4, rounds=2)
    bundle = bundle_of(TinyNet(64).eval())
    killed, told = technique.apply(bundle, serving), []
    for event in killed:  # until the second round trains
        told.append(event)
        if isinstance(event, Progress) and event.doing.startswith("round 2, epoch 3"):
            break
    killed.close()
    events, result = events_and_result(technique.apply(bundle, serving))
    notes = [event.text for event in events if isinstance(event, Note)]
    found = [event.text for event in told if isinstance(event, Note) and "as served" in event.text]
    assert found == [text for text in notes if "as served" in text]
    assert len(found) == len([text for text in notes if "found before the interruption, is kept" in text]) == 2
    assert "This training of 4 epochs was complete before; a checkpoint has its outcome." in notes
    assert any(text.startswith("Goes on at epoch") for text in notes)
    assert not any(isinstance(event, Progress) and event.unit == "candidates" for event in events)
    assert result.pruning is not None
    assert result.pruning.search is not None
    assert found[-1].partition(": ")[2].startswith(f"a ratio of {result.pruning.search.points[-1].ratio:.3f}")
    for file in context.folder.glob("search-*.json"):
        file.write_bytes(file.read_bytes()[:-20])
    anew, _ = events_and_result(technique.apply(bundle, serving))
    assert any(isinstance(event, Progress) and event.unit == "candidates" for event in anew)


def test_layers_that_become_prunable_between_two_cuts_stay_whole() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    wide, cut = bundle_of(network.append(nn.Linear(6, CLASSES)).eval()), Cut(0.5, "l2", True, 1)
    found = rank(wide.module, wide, cut)
    known = replace(found, groups=tuple(group for group in found.groups if group.layers[0] == "0"))
    state = State(wide.module, known, {"0": np.arange(8)}, {"0": 8}).cut(wide, cut)
    again = state.ranked_anew(state.network, wide, replace(cut, ratio=0.75))
    assert again.ranking.leads == ("0",)
    narrow = again.cut(wide, replace(cut, ratio=0.75))
    assert (widths(narrow.network), len(narrow.left["0"])) == ({"0": 2, "2": 6, "5": CLASSES}, 2)


def test_the_scan_judges_real_cuts(context: Context) -> None:
    data = DataSplits(images(256, seed=3), DATA.calibrate, DATA.test)
    torch.manual_seed(0)
    untrained = bundle_of(TinyNet(), data=data)
    bundle = bundle_of(result_of(train(untrained.module, untrained, context, Plan(6, 0.02, batch_size=32))), data=data)
    result = result_of(StructuredPruning(ratio=0.5, epochs=0, renew=True).apply(bundle, context))
    assert result.pruning is not None
    points = {point.ratio: point for point in result.pruning.scan}
    assert list(points) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert points[0.5].macs == count_macs(result.module, bundle.contract)
    assert (
        points[0.5].correct == round(evaluate(result.module, bundle) * 64) == result.pruning.rounds[0].correct_after_cut
    )
    assert points[0.1].correct > points[0.9].correct


def test_without_labels_the_scan_is_left_out_with_a_word(bundle: ModelBundle, context: Context) -> None:
    calibrate = Split(DATA.calibrate.pixels, np.full_like(DATA.calibrate.labels, -1))
    unlabelled = replace(bundle, data=replace(DATA, calibrate=calibrate))
    events, result = events_and_result(StructuredPruning(epochs=0).apply(unlabelled, context))
    assert result.pruning is not None
    assert result.pruning.scan == ()
    assert any("no calibration image has a label" in event.text for event in events if isinstance(event, Note))


def test_labels_tell_variants_apart() -> None:
    assert StructuredPruning().label() == "Pruned 50 %"
    assert StructuredPruning(importance="random").label() == "Pruned 50 % at random"
    assert StructuredPruning(target="macs", speed_up=2).label() == "Pruned to 2x fewer MACs"
    assert StructuredPruning(target="latency", speed_up=1.5, importance="taylor").label() == (
        "Pruned to 1.5x the speed by Taylor"
    )


@pytest.mark.parametrize("key", ["low_rank", "two_four", "magnitude_pruning"])
def test_what_shapes_weights_comes_afterwards(situation: Situation, key: str) -> None:
    with pytest.raises(CannotCompose, match="Move structured pruning before"):
        StructuredPruning().check(replace(situation, applied=(key,)))
