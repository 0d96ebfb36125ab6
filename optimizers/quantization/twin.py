"""A float network that rounds as a quantizer does, to see what rounding costs and where. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from optimizers.quantization.formats import group_size_of, grouped, ungrouped
from optimizers.quantization.minifloat import FloatGrid, nearest
from optimizers.quantization.quantizer import LayerGrid, TensorGrid


def rounded(values: Tensor, grid: TensorGrid) -> Tensor:
    """The values moved to the nearest point of the grid: scale x (clamp(round(x / scale) + zero point) - zero point).

    A scale per channel [C] runs along dimension 0 of the values; scales per group [C, G] also along what remains of
    their dimensions, in groups of the smallest power of two that makes G of them.
    """
    scale, zero_point = (torch.as_tensor(each, dtype=torch.float32) for each in (grid.scale, grid.zero_point))
    if scale.ndim < 2:
        shape = (-1,) + (1,) * (values.ndim - 1) if scale.ndim else ()
        return _round(values, scale.reshape(shape), zero_point.reshape(shape), grid)
    groups = grouped(values, group_size_of(values[0].numel(), scale.shape[1]))
    return ungrouped(_round(groups, scale[..., None], zero_point[..., None], grid), values)


def _round(values: Tensor, scale: Tensor, zero_point: Tensor, grid: TensorGrid) -> Tensor:
    if isinstance(grid, FloatGrid):
        return nearest(values / scale, grid) * scale
    integers = (torch.round(values / scale) + zero_point).clamp(grid.low, grid.high)
    return (integers - zero_point) * scale


def twin(network: nn.Module, grids: Mapping[str, LayerGrid]) -> nn.Module:
    """A copy whose named layers have rounded weights and round what comes in."""
    copied = copy.deepcopy(network)
    for name, grid in grids.items():
        layer = copied.get_submodule(name)
        with torch.no_grad():
            layer.weight.copy_(rounded(layer.weight, grid.weight))  # type: ignore[operator,arg-type]
        if grid.input:
            layer.register_forward_pre_hook(_rounds_input(grid.input))
    return copied


def _rounds_input(grid: TensorGrid) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def round_first(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (rounded(args[0], grid), *args[1:])

    return round_first


def outputs_of(network: nn.Module, names: tuple[str, ...], x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What came into and what went out of the named layers when x[N, C, H, W] passed, at their first call."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(_layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            inputs.setdefault(name, args[0])
            outputs.setdefault(name, output)

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.inference_mode():
        network(x)
    for handle in handles:
        handle.remove()
    return inputs, outputs
