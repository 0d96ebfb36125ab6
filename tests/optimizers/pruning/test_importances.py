"""Every importance against its formula, worked out by hand for a residual network whose joined layers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.data import Split
from core.errors import BadInput
from optimizers.pruning.channels import Cut, rank
from tests.optimizers.conftest import CLASSES, DATA, bundle_of, images

ByLayer = dict[str, np.ndarray[Any, Any]]


class Residual(nn.Module):
    """Outer channels: stem, bn, the block's input, its output, its norm, and the head. Inner: between its two."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.bn = nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.first, self.bn1 = nn.Conv2d(6, 10, 3, padding=1), nn.BatchNorm2d(10)
        self.second, self.bn2 = nn.Conv2d(10, 6, 1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, CLASSES)
        for norm in (self.bn, self.bn1, self.bn2):
            nn.init.uniform_(norm.weight)
            nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        x = x + self.bn2(self.second(self.bn1(self.first(x)).relu()))
        return self.head(x.relu().mean((2, 3)))


@pytest.fixture
def residual() -> ModelBundle:
    return bundle_of(Residual().eval())


def scores_of(bundle: ModelBundle, importance: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    groups = rank(bundle.module, bundle, Cut(0.5, importance, True, 1)).groups
    by_size = {group.ranked.before: group for group in groups}
    assert set(by_size[6].layers) == {"stem", "second"}
    assert by_size[10].layers == ("first",)
    return by_size[6].ranked.scores, by_size[10].ranked.scores


def mean_over_layers(elements: ByLayer) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """From a score for every weight: of each outer and inner channel the mean over layers of the sums, unnormalised."""
    out = {name: scores.reshape(len(scores), -1).sum(1) for name, scores in elements.items()}
    into = {name: scores.sum((0, *range(2, scores.ndim))) for name, scores in elements.items() if scores.ndim > 1}
    outer = (out["stem"] + out["bn"] + into["first"] + out["second"] + out["bn2"] + into["head"]) / 6
    return outer, (out["first"] + out["bn1"] + into["second"]) / 3


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: getattr(network, name).weight for name, _ in network.named_children()}


def each_weight(network: nn.Module, score: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> ByLayer:
    return {name: score(weight.detach().double().numpy()) for name, weight in weights_of(network).items()}


def loss_of(network: Any, bundle: ModelBundle, rows: slice = slice(None)) -> Tensor:
    x = torch.from_numpy(bundle.contract.prepare(bundle.data.train.pixels[rows]))
    return nn.functional.cross_entropy(network(x), torch.tensor(bundle.data.train.targets[rows]))


def taylor(bundle: ModelBundle) -> ByLayer:
    weights = weights_of(bundle.module)
    gradients = torch.autograd.grad(loss_of(bundle.module, bundle), list(weights.values()))
    pairs = zip(weights.items(), gradients, strict=True)
    return {name: (weight * gradient).abs().detach().double().numpy() for (name, weight), gradient in pairs}


def hessian(bundle: ModelBundle) -> ByLayer:
    """The gradients of all images at once by `torch.func`, where the code under test takes one image after another."""
    parameters = {name: value.detach() for name, value in bundle.module.named_parameters()}
    buffers = dict(bundle.module.named_buffers())

    def loss(values: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        logits = torch.func.functional_call(bundle.module, (values, buffers), (x[None],))
        return nn.functional.cross_entropy(logits, target[None])

    x = torch.from_numpy(bundle.contract.prepare(bundle.data.train.pixels))
    targets = torch.tensor(bundle.data.train.targets)
    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, x, targets)
    return {
        name: (weight.square() * each[f"{name}.weight"].square().mean(0)).detach().double().numpy()
        for name, weight in weights_of(bundle.module).items()
    }


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "hessian"])
def test_scores_are_the_mean_over_joined_layers_relative_to_the_group(residual: ModelBundle, importance: str) -> None:
    elements = {
        "l1": lambda: each_weight(residual.module, np.abs),
        "l2": lambda: each_weight(residual.module, np.square),
        "taylor": lambda: taylor(residual),
        "hessian": lambda: hessian(residual),
    }[importance]()
    for found, expected in zip(scores_of(residual, importance), mean_over_layers(elements), strict=True):
        np.testing.assert_allclose(found, expected / expected.mean(), rtol=2e-4)


@pytest.mark.parametrize("importance", ["taylor", "hessian"])
def test_gradients_are_those_of_labelled_images_however_they_fall_into_batches(importance: str) -> None:
    """70 labelled images against their gradients in one pass, with unlabelled ones between them."""
    labelled, network = images(70, seed=5), Residual().eval()
    alone = bundle_of(network, data=replace(DATA, train=labelled))
    order = np.random.default_rng(0).permutation(100)
    labels = np.concatenate([labelled.labels, np.full((30, 1), -1)])[order]
    mixed = Split(np.concatenate([labelled.pixels, images(30, seed=6).pixels])[order], labels)
    elements = {"taylor": taylor, "hessian": hessian}[importance](alone)
    found_of = scores_of(bundle_of(network, data=replace(DATA, train=mixed)), importance)
    for found, expected in zip(found_of, mean_over_layers(elements), strict=True):
        np.testing.assert_allclose(found, expected / expected.mean(), rtol=2e-4)
    unlabelled = Split(mixed.pixels, np.full_like(labels, -1))
    with pytest.raises(BadInput, match=r"no training image has a label.*Rank by magnitude"):
        scores_of(bundle_of(network, data=replace(DATA, train=unlabelled)), importance)


def test_batchnorm_scales_count_alone(residual: ModelBundle) -> None:
    network: Any = residual.module
    scales = [norm.weight.detach().abs().double().numpy() for norm in (network.bn, network.bn1, network.bn2)]
    outer, inner = (scales[0] + scales[2]) / 2, scales[1]
    for found, expected in zip(scores_of(residual, "bn_scale"), (outer, inner), strict=True):
        np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)


def test_lamp_is_relative_to_what_is_at_least_as_important(residual: ModelBundle) -> None:
    squares = mean_over_layers(each_weight(residual.module, np.square))
    for found, group in zip(scores_of(residual, "lamp"), squares, strict=True):
        np.testing.assert_allclose(found, [one / sum(other for other in group if other >= one) for one in group], 1e-5)


def test_random_scores_ignore_the_weights(residual: ModelBundle) -> None:
    torch.manual_seed(1)
    first = np.concatenate(scores_of(residual, "random"))
    with torch.no_grad():
        for weight in residual.module.parameters():
            weight.mul_(3)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, np.concatenate(scores_of(residual, "random")))
    assert ((first >= 0) & (first < 1)).all()
    assert len(set(first)) == 16
