"""A network that rounds while it trains. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optimizers.quantization.quantizer import LayerGrid, TensorGrid

_INPUT = "rounds_input"
_MEMORY = 0.95
"""What a batch leaves of the range so far while ranges still move."""


class RoundedWeight(nn.Module):
    """Gives the weight on a grid that follows it; the gradient passes where nothing was clipped.

    Jacob et al. 2017, section 3, https://arxiv.org/abs/1712.05877. The scale stays the same multiple of the largest
    weight (of the channel) that the quantizer chose at the start, so that 7 bits or a clipped range stay what they are.
    """

    def __init__(self, weight: Tensor, grid: TensorGrid) -> None:
        super().__init__()
        self.low, self.high = grid.low, grid.high
        scale = torch.as_tensor(grid.scale, dtype=torch.float32)
        self.per_channel = scale.ndim == 1
        self.register_buffer("share", scale / self._largest(weight))
        self.register_buffer("zero_point", torch.as_tensor(grid.zero_point, dtype=torch.int32))

    def _largest(self, weight: Tensor) -> Tensor:
        largest = weight.detach().abs().flatten(1).amax(1) if self.per_channel else weight.detach().abs().max()
        return largest.clamp_min(torch.finfo(torch.float32).tiny)

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight[O, ...]."""
        scale: Tensor = self.share * self._largest(weight)  # type: ignore[operator]
        zero_point: Any = self.zero_point
        if self.per_channel:
            moved: Tensor = torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, self.low, self.high)
            return moved
        return torch.fake_quantize_per_tensor_affine(weight, scale, zero_point, self.low, self.high)


class RoundedInput(nn.Module):
    """Gives what comes in on a grid whose range follows the batches until it is frozen."""

    def __init__(self, grid: TensorGrid) -> None:
        super().__init__()
        self.low, self.high, self.frozen, self.is_symmetric = grid.low, grid.high, False, not grid.zero_point.any()
        ends = [(end - grid.zero_point) * grid.scale for end in (grid.low, grid.high)]
        self.register_buffer("range", torch.tensor([float(end) for end in ends]))
        self.register_buffer("covered", torch.zeros(2))
        """What the quantizer covers of the range that is seen; zeros until the first batch."""

    def forward(self, x: Tensor) -> Tensor:
        """The rounded x."""
        if self.training and not self.frozen:
            self._follow(x.detach())
        scale, zero_point = self._grid()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, self.low, self.high)

    def _follow(self, x: Tensor) -> None:
        seen = torch.stack([x.min().clamp_max(0), x.max().clamp_min(0)]).float()
        kept: Any = self.range
        covered: Any = self.covered
        if not covered.any():
            covered.copy_(torch.where(seen == 0, torch.ones(2, device=x.device), kept / seen).clamp(0.01, 100))
        kept.mul_(_MEMORY).add_((1 - _MEMORY) * covered * seen)

    def _grid(self) -> tuple[Tensor, Tensor]:
        low, high = self.range  # type: ignore[misc]
        if self.is_symmetric and self.low < 0:
            scale = torch.maximum(-low / -self.low, high / self.high)
            return scale, torch.zeros((), dtype=torch.int32, device=scale.device)
        scale = (high - low) / (self.high - self.low)
        zero_point = (self.low - torch.round(low / scale)).clamp(self.low, self.high)
        return scale, zero_point.to(torch.int32)


def fake_quantized(network: nn.Module, grids: Mapping[str, LayerGrid]) -> nn.Module:
    """A copy whose named layers round their weights and what comes in, starting on the given grids."""
    copied = copy.deepcopy(network)
    for name, grid in grids.items():
        layer = copied.get_submodule(name)
        parametrize.register_parametrization(layer, "weight", RoundedWeight(layer.weight, grid.weight))  # type: ignore[arg-type]
        if grid.input:
            layer.add_module(_INPUT, RoundedInput(grid.input))
            layer.register_forward_pre_hook(_round_input)
    return copied


def _round_input(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (layer.get_submodule(_INPUT)(args[0]), *args[1:])


def freeze_ranges(network: nn.Module) -> None:
    """Let no range move any more."""
    for module in network.modules():
        if isinstance(module, RoundedInput):
            module.frozen = True


def stripped(network: nn.Module) -> nn.Module:
    """A copy of a fake-quantized network as the float network it trained: nothing rounds any more."""
    copied = copy.deepcopy(network)
    for layer in list(copied.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        if _INPUT in dict(layer.named_children()):
            delattr(layer, _INPUT)
            layer._forward_pre_hooks.clear()
    return copied
