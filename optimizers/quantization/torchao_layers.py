"""What torchao makes of linear layers. Imports torch and torchao: import it inside functions only."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.bundle import Precision
from core.torchao_import import quiet
from optimizers.quantization.quantizer import Bits, LayerGrid, Quantized, TensorGrid, WeightGrid

with quiet():
    from torchao.quantization import (
        Int8DynamicActivationInt8WeightConfig,
        Int8Tensor,
        Int8WeightOnlyConfig,
        IntxUnpackedToInt8Tensor,
        IntxWeightOnlyConfig,
        quantize_,
    )
    from torchao.quantization.granularity import PerAxis, PerGroup, PerRow
    from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A network, quantized as often as is asked."""

    module: nn.Module
    grid: WeightGrid

    def quantize(self, bits: Bits) -> Quantized:
        """A copy with the linear layers of `bits` in 8 or 4 bits."""
        network = copy.deepcopy(self.module).cpu().eval()
        layers = {name: network.get_submodule(name) for name in bits}
        linear = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
        for name, layer in linear.items():
            if bits[name] == 4:
                network.set_submodule(name, PackedLinear(layer, self.grid))
            else:
                quantize_(layer, _config(self.grid, layer.in_features), filter_fn=None)
        grids = {name: LayerGrid(_grid(network.get_submodule(name)), None) for name in linear}
        return Quantized(network, _precision(self.grid, set(bits.values())), grids)


def _precision(grid: WeightGrid, widths: set[int]) -> Precision:
    if 4 in widths:
        return "w4"
    return "int8" if grid.dynamic else "w8"


def _config(grid: WeightGrid, inputs: int) -> Any:
    """Of 8-bit weights: a layer whose inputs do not fill whole groups has a scale for each channel."""
    in_groups = grid.group_size and inputs % grid.group_size == 0
    # Otherwise these change the compiler's settings for the whole process.
    untouched = {"set_inductor_config": False}
    if grid.dynamic:
        return Int8DynamicActivationInt8WeightConfig(**untouched)
    if grid.symmetric:
        return Int8WeightOnlyConfig(granularity=PerGroup(grid.group_size) if in_groups else PerRow(), **untouched)
    granularity = PerGroup(grid.group_size) if in_groups else PerAxis(0)
    return IntxWeightOnlyConfig(torch.int8, granularity, MappingType.ASYMMETRIC)


class PackedLinear(nn.Module):
    """A linear layer whose weights lie in a file as two to a byte, unpacked whenever they are multiplied.

    torchao rounds them. Its own 4-bit layer for CPUs is not used, because it packs for the CPU at hand, and a file
    packed on one would give wrong answers on another.
    """

    weight_int4: Tensor
    weight_scale: Tensor
    weight_zero_point: Tensor

    def __init__(self, layer: nn.Linear, grid: WeightGrid) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        size = min(grid.group_size or layer.in_features, layer.in_features)
        weight = nn.functional.pad(layer.weight.detach().float(), (0, -layer.in_features % size))
        integers, scale, zero_point = _rounded(weight, size, symmetric=grid.symmetric)
        even = nn.functional.pad(integers[:, : layer.in_features], (0, layer.in_features % 2))
        self.group_size = size
        self.register_buffer("weight_int4", even[:, ::2] | (even[:, 1::2] << 4))
        self.register_buffer("weight_scale", scale.to(layer.weight.dtype))
        self.register_buffer("weight_zero_point", zero_point[:1, :1].clone() if grid.symmetric else zero_point)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)

    def integers(self) -> Tensor:
        """uint8 [outputs, inputs], from 0 to 15."""
        pairs = torch.stack((self.weight_int4 & 15, self.weight_int4 >> 4), -1)
        return pairs.flatten(1)[:, : self.in_features]

    def forward(self, input: Tensor) -> Tensor:
        """[..., outputs] for [..., inputs]."""
        groups = nn.functional.pad(self.integers(), (0, -self.in_features % self.group_size))
        scale = self.weight_scale.unsqueeze(-1)
        steps = groups.reshape(self.out_features, -1, self.group_size).to(
            scale.dtype
        ) - self.weight_zero_point.unsqueeze(-1)
        return nn.functional.linear(input, (steps * scale).flatten(1)[:, : self.in_features], self.bias)


def _rounded(weight: Tensor, size: int, *, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 integers [O, I] from 0 to 15, float32 scales [O, I / size] and uint8 zero points."""
    mapping = MappingType.SYMMETRIC_NO_CLIPPING_ERR if symmetric else MappingType.ASYMMETRIC
    shift = 8 if symmetric else 0
    ends = {"quant_min": -shift, "quant_max": 15 - shift}
    block = (1, size)
    scale, zero_point = choose_qparams_affine(
        weight, mapping, block, torch.int8, eps=torch.finfo(torch.float32).eps, zero_point_dtype=torch.int32, **ends
    )
    integers = quantize_affine(weight, block, scale, zero_point, torch.int8, **ends)
    scale, zero_point = (each.reshape(len(weight), -1) for each in (scale, zero_point))
    return (integers + shift).to(torch.uint8), scale, (zero_point + shift).to(torch.uint8)


def _grid(layer: nn.Module) -> TensorGrid:
    """Read back from the quantized layer."""
    if isinstance(layer, PackedLinear):
        scale = layer.weight_scale
        return TensorGrid(4, 0, 15, *_per_channel(scale, layer.weight_zero_point.expand_as(scale)))
    weight: Any = layer.weight
    assert isinstance(weight, Int8Tensor | IntxUnpackedToInt8Tensor), type(weight)
    return TensorGrid(8, -128, 127, *_per_channel(weight.scale, weight.zero_point))


def _per_channel(scale: Tensor, zero_point: Tensor) -> tuple[Any, Any]:
    """float32 scales and int32 zero points: [O] where a channel has one group, else [O, groups]."""
    scales, zeros = scale.detach().float().numpy(), zero_point.detach().numpy().astype(np.int32)
    scales, zeros = (each.reshape(len(scale), -1) for each in (scales, zeros))
    return (scales[:, 0], zeros[:, 0]) if scales.shape[1] == 1 else (scales, zeros)
