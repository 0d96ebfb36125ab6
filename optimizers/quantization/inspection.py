"""What quantization did to each layer's numbers. Imports torch: import it inside functions only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from core.histograms import histogram
from core.quantization import FLOAT_BITS, GridSummary, LayerQuantization, Range
from optimizers.quantization.formats import snr_db
from optimizers.quantization.quantizer import LayerGrid, TensorGrid
from optimizers.quantization.selection import kind_of
from optimizers.quantization.twin import outputs_of, rounded, twin

_MOST_VALUES = 100_000_000
"""Of all layers' inputs and outputs that are held at once: 400 MB."""


def inspect(
    reference: nn.Module,
    quantizable: nn.Module,
    grids: Mapping[str, LayerGrid],
    x: Tensor,
    *,
    why_float: Mapping[str, str],
    sensitivity: Mapping[str, float],
    names: tuple[str, ...],
) -> tuple[tuple[LayerQuantization, ...], int]:
    """Every named layer's figures, and the images of x[N, C, H, W] behind them.

    `reference` is the float network that outputs are compared with, `quantizable` the one that was quantized: the
    same but for what was corrected beforehand.
    """
    x = x[: affordable(reference, names, x)]
    inputs, wanted = outputs_of(reference, names, x)
    _, given = outputs_of(twin(quantizable, grids), names, x)
    layers = []
    for name in names:
        layer, grid = quantizable.get_submodule(name), grids.get(name)
        weight: Tensor = layer.weight.detach()  # type: ignore[operator]
        layers.append(
            LayerQuantization(
                name=name,
                kind=kind_of(layer),
                parameters=sum(each.numel() for each in layer.parameters()),
                bits=grid.weight.bits if grid else FLOAT_BITS,
                why_float="" if grid else why_float[name],
                sensitivity=sensitivity.get(name),
                weight_snr_db=snr_db(weight, rounded(weight, grid.weight)) if grid else None,
                input_snr_db=snr_db(inputs[name], rounded(inputs[name], grid.input)) if grid and grid.input else None,
                output_snr_db=snr_db(wanted[name], given[name]),
                weights=histogram(weight),
                weight_grid=summary(grid.weight) if grid else None,
                inputs=histogram(inputs[name]),
                input_grid=summary(grid.input) if grid and grid.input else None,
            )
        )
    return tuple(layers), len(x)


def counts(network: nn.Module, grids: Mapping[str, LayerGrid]) -> tuple[int, int]:
    """Parameters of the network, and those that are not zero once the weights of the named layers are rounded."""
    parameters = list(network.parameters())
    nonzero = sum(int(each.count_nonzero()) for each in parameters)
    for name, grid in grids.items():
        weight: Tensor = network.get_submodule(name).weight.detach()  # type: ignore[operator]
        nonzero += int(rounded(weight, grid.weight).count_nonzero()) - int(weight.count_nonzero())
    return sum(each.numel() for each in parameters), nonzero


def affordable(network: nn.Module, names: tuple[str, ...], x: Tensor) -> int:
    """How many of x[N, C, H, W] can pass while everything that enters and leaves the layers is kept."""
    inputs, outputs = outputs_of(network, names, x[:1])
    each = sum(value.numel() for values in (inputs, outputs) for value in values.values())
    return max(1, min(len(x), _MOST_VALUES // max(1, each)))


def summary(grid: TensorGrid) -> GridSummary:
    """The grid in a few numbers."""
    signed, zeros = np.asarray(grid.scale, np.float64).ravel(), np.asarray(grid.zero_point, np.int64).ravel()
    scales = np.abs(signed)  # NNCF turns a channel's grid around where that fits it better
    median = int(np.argsort(scales)[len(scales) // 2])
    ends = (np.array([[grid.low], [grid.high]]) - zeros) * signed
    return GridSummary(
        bits=grid.bits,
        low=grid.low,
        high=grid.high,
        scales=_summarised(scales),
        zero_point=int(zeros[median]),
        covers=Range(low=float(ends.min()), high=float(ends.max())),
    )


def _summarised(scales: NDArray[np.float64]) -> tuple[float, ...]:
    if len(scales) == 1:
        return (float(scales[0]),)
    return (float(scales.min()), float(np.median(scales)), float(scales.max()))
