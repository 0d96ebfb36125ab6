from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from core.bundle import ModelBundle, Situation
from core.errors import CannotCompose
from core.progress import Metric, Note, result_of
from optimizers.magnitude_pruning import MagnitudePruning
from optimizers.sparsity.gradual import Criterion, Gradual, risen
from optimizers.sparsity.zeros import Selection, count_zeros, prunable
from optimizers.technique import Context
from optimizers.training import checkpoints
from tests.optimizers.conftest import CLASSES, TinyNet, events_and_result

Arrays = dict[str, NDArray[np.float64]]
STEPS, RATE = 12, 0.05


def test_sparsity_rises_along_the_cubic_curve() -> None:
    """Zhu and Gupta, equation 1: s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, with s_i and t_0 zero."""
    s_f, n = 0.8, 40
    for t in range(n + 1):
        assert s_f * risen(t / n) == pytest.approx(s_f + (0 - s_f) * (1 - t / n) ** 3)
    assert (risen(0), risen(1)) == (0, 1)


def plain_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, CLASSES)).double()


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(20, 12).double(), torch.randint(0, CLASSES, (20,))) for _ in range(STEPS)]


def trained(masks: Any, network: nn.Module, steps: range) -> None:
    """Plain gradient descent with masks, as the trainer calls them."""
    for step in steps:
        x, labels = batches()[step]
        network.zero_grad()
        cross_entropy(network(x), labels).backward()
        masks.after_backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= RATE * parameter.grad
            masks.after_step((step + 1) / STEPS)


def in_numpy(share: float, criterion: Criterion, everywhere_alike: bool) -> tuple[Arrays, list[float]]:
    """The same training, forward and backward by hand; the weights that count, and sparsity after each step."""
    network = plain_network()
    w1, b1, w2, b2 = (parameter.detach().numpy().copy() for parameter in network.parameters())
    names = ("1.weight", "3.weight")
    values: Arrays = dict(zip(names, (w1, w2), strict=True))
    masks = {name: np.ones_like(value) for name, value in values.items()}
    scores = {name: np.zeros_like(value) for name, value in values.items()}
    sparsities, changes = [], 0
    for step, (batch, labels) in enumerate(batches(), start=1):
        x, rows = batch.numpy(), np.arange(20)
        first, second = (values[name] * masks[name] for name in names)
        before = x @ first.T + b1
        hidden = np.maximum(before, 0)
        logits = hidden @ second.T + b2
        wrong = np.exp(logits - logits.max(1, keepdims=True))
        wrong /= wrong.sum(1, keepdims=True)
        wrong[rows, labels.numpy()] -= 1
        wrong /= 20
        below = (wrong @ second) * (before > 0)
        gradients = dict(zip(names, (below.T @ x, wrong.T @ hidden), strict=True))
        for name in names:
            scores[name] -= values[name] * gradients[name]
            values[name] -= RATE * gradients[name] * masks[name]
        b1 -= RATE * below.sum(0)
        b2 -= RATE * wrong.sum(0)
        reached = int(50 * min(1, step / STEPS / (2 / 3)) + 1e-9)
        if reached > changes:
            changes = reached
            ranked = scores if criterion == "movement" else {name: np.abs(values[name]) for name in names}
            wanted = share * (1 - (1 - changes / 50) ** 3)
            for group in [[name] for name in names] if everywhere_alike else [list(names)]:
                order = np.sort(np.concatenate([ranked[name].ravel() for name in group]))
                limit = order[round(wanted * len(order))]
                masks |= {name: (ranked[name] >= limit).astype(float) for name in group}
        sparsities.append(1 - sum(mask.sum() for mask in masks.values()) / sum(mask.size for mask in masks.values()))
    return {name: values[name] * masks[name] for name in names}, sparsities


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
@pytest.mark.parametrize("everywhere_alike", [False, True], ids=["global", "uniform"])
def test_masks_scores_and_schedule_are_those_of_the_papers(criterion: Criterion, everywhere_alike: bool) -> None:
    network, masks = plain_network(), Gradual(Selection(0.7, everywhere_alike, keep_ends=False), criterion)
    masks.attach(network)
    trained(masks, network, range(STEPS))
    expected, sparsities = in_numpy(0.7, criterion, everywhere_alike)
    for name, weight in prunable(network).items():
        np.testing.assert_allclose(weight.detach().numpy(), expected[name], atol=1e-12)
    points = {point.step: point.sparsity for point in masks.schedule}
    assert list(points) == list(range(1, 9))  # two thirds of 12 steps
    assert [points[step] for step in points] == pytest.approx(sparsities[:8])
    assert sparsities[7:] == pytest.approx([0.7] * 5, abs=0.01)


def test_movement_takes_large_weights_that_shrink_and_spares_small_ones_that_grow() -> None:
    network = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 0.1]]))
    by_movement, by_magnitude = (Gradual(Selection(0.5, True, False), each) for each in ("movement", "magnitude"))  # type: ignore[arg-type]
    for masks, gone in ((by_movement, 0), (by_magnitude, 1)):
        layer = copy.deepcopy(network)
        masks.attach(layer)
        layer.weight.grad = torch.tensor([[0.5, -0.5]])
        masks.after_backward()
        with torch.no_grad():
            masks.after_step(1.0)
        assert (layer.weight[0] == 0).nonzero().flatten().tolist() == [gone]


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
def test_another_goes_on_where_one_left_off(criterion: Criterion) -> None:
    selection = Selection(0.7, everywhere_alike=False, keep_ends=False)
    whole, unbroken = plain_network(), Gradual(selection, criterion)
    unbroken.attach(whole)
    trained(unbroken, whole, range(STEPS))
    network, first, second = plain_network(), Gradual(selection, criterion), Gradual(selection, criterion)
    first.attach(network)
    trained(first, network, range(5))
    state = copy.deepcopy(first.state_dict())
    second.attach(network)
    second.load_state_dict(state)
    trained(second, network, range(5, STEPS))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), network.parameters(), strict=True))
    assert second.schedule == unbroken.schedule


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule_of_zeros": "gradual"},
        {"criterion": "movement"},
        {"criterion": "movement", "scope": "uniform", "keep_ends": True},
        {"schedule_of_zeros": "gradual", "patience": 1, "keep_epoch": "best", "epochs": 6},
    ],
    ids=["gradual", "movement", "movement, ends kept", "best epoch, little patience"],
)
def test_the_requested_sparsity_is_reached_and_reported(
    bundle: ModelBundle, context: Context, settings: dict[str, Any]
) -> None:
    technique = MagnitudePruning(**{"sparsity": 0.8, "epochs": 3, "batch_size": 8} | settings)
    done = result_of(technique.apply(bundle, context))
    zeros = count_zeros(done.module, keep_ends=technique.keep_ends)
    weights = prunable(done.module, keep_ends=technique.keep_ends)
    assert sum(zeros.values()) / sum(each.numel() for each in weights.values()) == pytest.approx(0.8, abs=0.005)
    assert done.sparsity
    assert done.sparsity.schedule[-1].sparsity == pytest.approx(0.8, abs=0.005)
    assert len(done.sparsity.schedule) >= 30
    assert {layer.name: layer.zeros for layer in done.sparsity.layers} == {
        name.removesuffix(".weight"): zeros.get(name, 0) for name in prunable(done.module)
    }
    assert all(layer.output_error is None for layer in done.sparsity.layers)
    again = result_of(technique.apply(bundle, context))  # from the checkpoint of a finished training
    assert again.sparsity == done.sparsity
    assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), done.module.parameters(), strict=True))


def test_a_training_that_was_cut_short_ends_with_the_same_zeros(
    bundle: ModelBundle, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_EVERY_S", 0)
    technique = MagnitudePruning(criterion="movement", sparsity=0.8, epochs=5, batch_size=16)  # type: ignore[call-arg]
    unbroken = result_of(technique.apply(bundle, context))
    other = replace(context, folder=tmp_path / "other")
    other.folder.mkdir()
    judged = 0
    for event in technique.apply(bundle, other):
        judged += isinstance(event, Metric) and event.name == "accuracy"
        if judged == 3:
            break
    events, resumed = events_and_result(technique.apply(bundle, other))
    assert any(isinstance(event, Note) and "Goes on at epoch 3" in event.text for event in events)
    assert resumed.sparsity == unbroken.sparsity
    assert all(
        torch.equal(a, b) for a, b in zip(resumed.module.parameters(), unbroken.module.parameters(), strict=True)
    )


@pytest.mark.parametrize("settings", [{"schedule_of_zeros": "gradual"}, {"criterion": "movement"}])
def test_zeros_that_come_during_training_need_one(settings: dict[str, Any], situation: Situation) -> None:
    with pytest.raises(CannotCompose, match="at least one epoch"):
        MagnitudePruning(**settings, epochs=0).check(situation)
    empty = Situation("cnn", 0, CLASSES, situation.device, "openvino")
    with pytest.raises(CannotCompose, match="go at once"):
        MagnitudePruning(**settings).check(empty)


def test_zeros_that_come_at_once_have_an_output_error(bundle: ModelBundle, context: Context) -> None:
    report = result_of(MagnitudePruning(sparsity=0.5, epochs=0).apply(bundle, context)).sparsity
    assert report
    assert (report.pattern, report.method, report.schedule) == ("scattered", "Magnitude, one ranking for all", ())
    assert all(layer.output_error and 0 < layer.output_error < 1 for layer in report.layers)
    assert report.sparsity == pytest.approx(0.5, abs=0.01)


def test_labels_tell_variants_apart() -> None:
    settings: tuple[dict[str, Any], ...] = ({}, {"schedule_of_zeros": "gradual"}, {"criterion": "movement"})
    assert [MagnitudePruning(**each).label() for each in settings] == [
        "Sparse 70 %",
        "Sparse 70 % gradually",
        "Sparse 70 % by movement",
    ]


def test_a_masked_weight_does_not_learn() -> None:
    network = TinyNet()
    masks = Gradual(Selection(0.5, everywhere_alike=True, keep_ends=False), "magnitude")
    masks.attach(network)
    with torch.no_grad():
        masks.after_step(1.0)
    gone = {name: weight == 0 for name, weight in prunable(network).items()}
    network(torch.randn(4, 1, 12, 12)).square().sum().backward()
    masks.after_backward()
    for name, weight in prunable(network).items():
        assert weight.grad is not None
        assert not weight.grad[gone[name]].any()
        assert weight.grad[~gone[name]].any()
