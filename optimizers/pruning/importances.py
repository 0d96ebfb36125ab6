"""How much each channel of joined layers matters. Imports torch: import it inside functions only.

Every importance but chance gives each weight a score, adds up the scores of the weights that would go with a channel,
layer by layer, and takes the mean over the joined layers: DepGraph, Fang et al. 2023, https://arxiv.org/abs/2301.12900.
Depthwise filters and biases do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_pruning import ops
from torch_pruning.pruner import function

from core.bundle import ModelBundle
from core.data import Split
from core.errors import BadInput
from optimizers.training.batches import Examples
from optimizers.training.examples import examples_of

Importance = Literal["l2", "l1", "lamp", "bn_scale", "taylor", "hessian", "random"]
WeightScore = Callable[[nn.Parameter], Tensor]
"""A score for every element of a parameter, in its shape."""

GRADIENT_IMAGES = 256
"""Labelled training images whose gradients Taylor and Hessian look at."""
_BATCH = 32
"""Of these at once: what one backward pass keeps in memory grows with it."""

_OUTPUTS = (function.prune_conv_out_channels, function.prune_linear_out_channels)
_INPUTS = (function.prune_conv_in_channels, function.prune_linear_in_channels)
_NORMS = (function.prune_batchnorm_out_channels, function.prune_layernorm_out_channels)


def importance_of(network: nn.Module, bundle: ModelBundle, importance: Importance) -> Callable[[Any], Tensor | None]:
    """Scores a group of a dependency graph of `network`: float [channels], or None where no weight tells.

    Magnitudes are |w| and w^2 (Li et al. 2016, https://arxiv.org/abs/1608.08710), BatchNorm scales |gamma| (Liu et al.
    2017, https://arxiv.org/abs/1708.06519), Taylor |w dL/dw| (Molchanov et al. 2019, https://arxiv.org/abs/1906.10771),
    Hessian w^2 E[(dL/dw)^2] (LeCun et al. 1989, Optimal Brain Damage, with the empirical Fisher information as the
    Hessian's diagonal). All are relative to the group's mean, LAMP to the sum of what is at least as important (Lee et
    al. 2020, https://arxiv.org/abs/2010.07611). Random draws from torch's global generator. Raises `BadInput` where
    gradients are asked for and no training image has a label.
    """
    if importance == "random":
        return lambda group: torch.rand(len(group[0].idxs))
    score = _weight_score(network, bundle, importance)
    counted = _NORMS[:1] if importance == "bn_scale" else (*_OUTPUTS, *_INPUTS, *_NORMS)
    relative = _lamp if importance == "lamp" else _to_mean

    @torch.no_grad()
    def of_group(group: Any) -> Tensor | None:
        total, members = torch.zeros(len(group[0].idxs)), 0
        for item in group.items:
            if item.dep.handler not in counted or None in item.root_idxs or not _has_weights(item.dep.target.module):
                continue
            scores = _by_channel(item, score)
            total.scatter_add_(0, torch.tensor(item.root_idxs), scores[torch.tensor(_plain(item))])
            members += 1
        return relative(total / members) if members else None

    return of_group


def _plain(item: Any) -> list[int]:
    return [getattr(index, "idx", index) for index in item.idxs]


def _has_weights(layer: nn.Module) -> bool:
    return isinstance(getattr(layer, "weight", None), nn.Parameter)


def _by_channel(item: Any, score: WeightScore) -> Tensor:
    """float [channels of the layer]: the sum over the weights that would go with each."""
    layer, handler = item.dep.target.module, item.dep.handler
    scores = score(layer.weight)
    if handler in _NORMS:
        return scores
    if (handler in _INPUTS) is not getattr(layer, "transposed", False):
        scores = scores.transpose(0, 1)
    sums = scores.flatten(1).sum(1)
    is_grouped = isinstance(layer, ops.TORCH_CONV) and handler in _INPUTS and layer.groups > 1
    return sums.repeat(layer.groups) if is_grouped else sums


def _to_mean(scores: Tensor) -> Tensor:
    return scores / scores.mean().clamp(min=torch.finfo(scores.dtype).tiny)


def _lamp(scores: Tensor) -> Tensor:
    ordered, order = scores.sort(descending=True)
    at_least = ordered.cumsum(0).clamp(min=torch.finfo(scores.dtype).tiny)
    return torch.empty_like(scores).scatter_(0, order, ordered / at_least)


def _weight_score(network: nn.Module, bundle: ModelBundle, importance: Importance) -> WeightScore:
    if importance in ("l1", "bn_scale"):
        return torch.abs
    if importance in ("l2", "lamp"):
        return torch.square
    if importance == "taylor":
        gradients = _gradients(network, bundle)
        return lambda weight: (weight * gradients[weight]).abs()
    squares = _squared_gradients(network, bundle)
    return lambda weight: weight.square() * squares[weight]


def _gradients(network: nn.Module, bundle: ModelBundle) -> dict[nn.Parameter, Tensor]:
    """Of the mean loss on the first labelled training images, by parameter; zeros where it has none."""
    examples = _examples(bundle)
    sums = {weight: torch.zeros_like(weight) for weight in network.parameters()}
    for start in range(0, len(examples), _BATCH):
        with torch.enable_grad():
            loss = _loss(network, examples, slice(start, start + _BATCH))
        for weight, gradient in _of_all(network, loss).items():
            sums[weight] += gradient
    return {weight: total / len(examples) for weight, total in sums.items()}


def _squared_gradients(network: nn.Module, bundle: ModelBundle) -> dict[nn.Parameter, Tensor]:
    """The mean over images of each image's own squared gradient, by parameter."""
    examples = _examples(bundle)
    sums = {weight: torch.zeros_like(weight) for weight in network.parameters()}
    for row in range(len(examples)):
        with torch.enable_grad():
            loss = _loss(network, examples, slice(row, row + 1))
        for weight, gradient in _of_all(network, loss).items():
            sums[weight].addcmul_(gradient, gradient)
    return {weight: total / len(examples) for weight, total in sums.items()}


def _loss(network: nn.Module, examples: Examples, rows: slice) -> Tensor:
    """The sum over these examples."""
    return cross_entropy(network(examples.seen(rows)), examples.targets[rows], reduction="sum")


def _examples(bundle: ModelBundle) -> Examples:
    split = bundle.data.train
    labelled = np.flatnonzero(split.targets >= 0)[:GRADIENT_IMAGES]
    if not len(labelled):
        raise BadInput(
            "An importance from gradients, where no training image has a label",
            expected="at least one with its class",
            action="Rank by magnitude, which needs no labels, or label the training images",
        )
    return examples_of(Split(split.pixels[labelled], split.labels[labelled]), bundle.contract, torch.device("cpu"))


def _of_all(network: nn.Module, loss: Tensor) -> dict[nn.Parameter, Tensor]:
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    given = {weight: gradient for weight, gradient in zip(weights, found, strict=True) if gradient is not None}
    return {weight: given.get(weight, torch.zeros_like(weight)) for weight in network.parameters()}
