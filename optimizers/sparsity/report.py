"""What zeros did to each layer. Imports torch: import it inside functions only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.bundle import ModelBundle
from core.sparsity import Pattern, SchedulePoint, SparseLayer, SparsityReport
from optimizers.quantization.selection import KINDS, kind_of, layers_of
from optimizers.sparsity.fours import count_blocks
from optimizers.sparsity.zeros import prunable

_PACKED = "Its projections are packed into one weight that belongs to no layer of its own."
_BATCH = 16
ERROR_IMAGES = 64
"""Calibration images that output errors are measured on: they hardly differ from image to image."""


def calibration_input(bundle: ModelBundle, images: int, device: str = "cpu") -> Tensor:
    """x[N, C, H, W] of the first calibration images, or of all where there are fewer."""
    return torch.from_numpy(bundle.contract.prepare(bundle.data.calibrate.take(images).pixels)).to(device)


def report_of(
    sparse: nn.Module,
    pattern: Pattern,
    method: str,
    *,
    errors: Mapping[str, float] | None = None,
    why_dense: Mapping[str, str] | None = None,
    schedule: tuple[SchedulePoint, ...] = (),
) -> SparsityReport:
    """Every layer with weights of a network whose zeros have been set; errors and reasons go by layer.

    With reasons, a layer that is no module of its own is dense too.
    """
    layers = []
    for weight_name, weight in prunable(sparse).items():
        module = sparse.get_submodule(weight_name.rpartition(".")[0])
        is_layer = isinstance(module, KINDS)
        name = weight_name.removesuffix(".weight")
        blocks, with_pattern = count_blocks(module, weight.detach())
        layers.append(
            SparseLayer(
                name=name,
                kind=kind_of(module) if is_layer else type(module).__name__,
                shape=tuple(weight.shape),
                weights=weight.numel(),
                zeros=int((weight == 0).sum()),
                blocks=blocks,
                blocks_with_pattern=with_pattern,
                output_error=(errors or {}).get(name),
                why_dense=(why_dense or {}).get(name, "" if is_layer or why_dense is None else _PACKED),
            )
        )
    return SparsityReport(pattern=pattern, method=method, layers=tuple(layers), schedule=schedule)


def output_errors(dense: nn.Module, sparse: nn.Module, x: Tensor) -> dict[str, float]:
    """||y - y_sparse|| / ||y|| of each layer's outputs, both fed with what x[N, C, H, W] brings to it in `dense`.

    Copies of both compute where x is, in eval mode. Layers that give nothing but zeros are left out.
    """
    dense, sparse = (_placed(network, x) for network in (dense, sparse))
    sums: dict[str, Tensor] = {}

    def compares(name: str, other: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(_layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            squares = torch.stack([(output - other(*args)).square().sum(), output.square().sum()])
            sums[name] = sums.get(name, 0) + squares.double()

        return hook

    handles = [
        layer.register_forward_hook(compares(name, sparse.get_submodule(name)))
        for name, layer in layers_of(dense, x[:1]).items()
    ]
    with torch.inference_mode():
        for part in torch.split(x, _BATCH):
            dense(part)
    for handle in handles:
        handle.remove()
    return {name: float((lost / whole).sqrt()) for name, (lost, whole) in sums.items() if whole > 0}


def _placed(network: nn.Module, x: Tensor) -> nn.Module:
    moved: nn.Module = copy.deepcopy(network).to(x.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved.eval()
