"""Repairs of the float network before it is quantized. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.quantization.quantizer import LayerGrid
from optimizers.quantization.selection import layers_of
from optimizers.quantization.twin import outputs_of, rounded

_SMALLEST = 1e-5
"""Below this share of the largest one, a channel's weights or activations count as that share: no division by zero."""


def corrected(
    network: nn.Module,
    grids: Mapping[str, LayerGrid],
    x: Tensor,
    *,
    biases: bool = False,
    renormalised: Collection[str] = (),
) -> nn.Module:
    """A copy of a float network whose layers, once rounded, give the float network's means again on x[N, C, H, W].

    With `biases` every layer's bias takes back the mean error of its output, channel by channel (Nagel et al. 2019,
    section 4.2, https://arxiv.org/abs/1906.04721). The layers of `renormalised` also get their standard deviation
    back: this is what estimating the statistics of the BatchNorm that was merged into them anew amounts to. Layers are
    corrected in order, each on what the rounded and corrected ones before it give.
    """
    names = tuple(grids)
    wanted = _moments(network, names, x)
    mended, trial = copy.deepcopy(network), copy.deepcopy(network)
    for name in names:
        if not biases and name not in renormalised:
            continue
        _correct_when_called(trial, mended, name, wanted[name], renormalise=name in renormalised)
    for name, grid in grids.items():
        layer = trial.get_submodule(name)
        layer.register_forward_pre_hook(_rounding(grid))
    with torch.inference_mode():
        trial(x)
    return mended


def _rounding(grid: LayerGrid) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """Rounds the weight when the layer is called for the first time, and what comes in every time."""

    def hook(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        with torch.no_grad():
            layer.weight.copy_(rounded(layer.weight, grid.weight))  # type: ignore[operator,arg-type]
        return (rounded(args[0], grid.input), *args[1:]) if grid.input else args

    return hook


Moments = tuple[Tensor, Tensor]
"""Mean and standard deviation [C] of a layer's output, channel by channel."""


def _moments(network: nn.Module, names: tuple[str, ...], x: Tensor) -> dict[str, Moments]:
    found: dict[str, Moments] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(layer: nn.Module, _args: object, output: Tensor) -> None:
            found.setdefault(name, _of_channels(layer, output))

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.inference_mode():
        network(x)
    for handle in handles:
        handle.remove()
    return found


def _of_channels(layer: nn.Module, output: Tensor) -> Moments:
    others = [dim for dim in range(output.ndim) if dim != _channels(layer, output)]
    return output.mean(others), output.std(others)


def _channels(layer: nn.Module, output: Tensor) -> int:
    """The dimension along which a layer's output channels lie."""
    return output.ndim - 1 if isinstance(layer, nn.Linear) else 1


def _correct_when_called(trial: nn.Module, mended: nn.Module, name: str, wanted: Moments, *, renormalise: bool) -> None:
    def hook(layer: nn.Module, _args: object, output: Tensor) -> Tensor:
        mean, spread = _of_channels(layer, output)
        shape = [-1 if dim == _channels(layer, output) else 1 for dim in range(output.ndim)]
        ratio = torch.ones_like(mean)
        if renormalise:
            usable = spread > _SMALLEST * spread.max()
            ratio = torch.where(usable, wanted[1] / spread.clamp_min(torch.finfo().tiny), ratio)
        shift = wanted[0] - ratio * mean
        _rescale(mended.get_submodule(name), ratio, shift)
        return output * ratio.reshape(shape) + shift.reshape(shape)

    trial.get_submodule(name).register_forward_hook(hook)


def _rescale(layer: nn.Module, ratio: Tensor, shift: Tensor) -> None:
    """Make the layer give ratio x what it gave + shift, channel by channel."""
    with torch.no_grad():
        weight: Any = layer.weight
        bias: Any = layer.bias
        layer.weight = nn.Parameter(weight * ratio.reshape(-1, *(1,) * (weight.ndim - 1)))
        layer.bias = nn.Parameter((bias * ratio if bias is not None else 0) + shift)


def smoothed(network: nn.Module, x: Tensor, *, alpha: float) -> tuple[nn.Module, frozenset[str]]:
    """A copy that answers the same, with outliers moved from activations into weights, and the layers that took them.

    Each LayerNorm is divided by s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) per channel j and the linear layers that
    it feeds are multiplied by it: Xiao et al. 2022, https://arxiv.org/abs/2211.10438. A LayerNorm whose output also
    goes elsewhere is left as it is.
    """
    before = copy.deepcopy(network)
    result, taken = before, set[str]()
    for norm, layers in _fed_by_norms(network, x).items():
        candidate = copy.deepcopy(result)
        _smooth(candidate, norm, layers, x, alpha)
        with torch.inference_mode():
            expected, answer = before(x), candidate(x)
        if torch.allclose(answer, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
            result, taken = candidate, taken | set(layers)
    return result, frozenset(taken)


def _fed_by_norms(network: nn.Module, x: Tensor) -> dict[str, tuple[str, ...]]:
    """The linear layers that take exactly what a LayerNorm gives, by the LayerNorm's name."""
    norms = {name: each for name, each in network.named_modules() if isinstance(each, nn.LayerNorm)}
    usable = tuple(name for name, norm in norms.items() if norm.elementwise_affine and len(norm.normalized_shape) == 1)
    _, given = outputs_of(network, usable, x)
    linear = tuple(name for name, layer in layers_of(network, x).items() if isinstance(layer, nn.Linear))
    taken, _ = outputs_of(network, linear, x)
    fed: dict[str, tuple[str, ...]] = {}
    for norm, output in given.items():
        same = tuple(
            name for name, value in taken.items() if value.shape == output.shape and torch.equal(value, output)
        )
        if same:
            fed[norm] = same
    return fed


def _smooth(network: nn.Module, norm: str, layers: tuple[str, ...], x: Tensor, alpha: float) -> None:
    _, given = outputs_of(network, (norm,), x)
    activations = given[norm].abs().amax(tuple(range(given[norm].ndim - 1)))
    linears: list[Any] = [network.get_submodule(name) for name in layers]
    weights = torch.stack([linear.weight.detach().abs().amax(0) for linear in linears]).amax(0)
    activations = activations.clamp_min(_SMALLEST * float(activations.max()))
    weights = weights.clamp_min(_SMALLEST * float(weights.max()))
    scale = activations**alpha / weights ** (1 - alpha)
    source: Any = network.get_submodule(norm)
    with torch.no_grad():
        source.weight /= scale
        if source.bias is not None:
            source.bias /= scale
        for linear in linears:
            linear.weight *= scale
