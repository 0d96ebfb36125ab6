"""What quantization did to each layer's numbers in an ONNX graph. Imports torch: import it inside functions only."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.bundle import Network, OnnxGraph
from core.data import Floats, Inputs
from core.histograms import histogram
from core.onnx_reference import tensors_of
from core.quantization import FLOAT_BITS, LayerQuantization
from optimizers.quantization.formats import snr_db
from optimizers.quantization.graph_layers import GraphLayer
from optimizers.quantization.inspection import summary
from optimizers.quantization.quantizer import LayerGrid, Quantized
from optimizers.quantization.twin import rounded

_INSPECTED = 64
_BATCH = 16
_MOST_VALUES = 50_000_000
"""Of all that comes into layers and is held at once: 200 MB."""
_LARGEST_SNR_DB = 120.0


def inspect_graph(
    content: bytes, layers: Mapping[str, GraphLayer], done: Quantized, x: Inputs, *, why_float: Mapping[str, str]
) -> tuple[tuple[LayerQuantization, ...], int]:
    """Every layer's figures, and the images of x[N, C, H, W] behind them; no sensitivities, which need a twin in float.

    What goes out of a layer is taken from the quantized network itself, where it still has that result.
    """
    entering = {each.input for each in layers.values()}
    held = sum(value.size for value in tensors_of(content, entering, x[:1]).values())
    x = x[: max(1, min(_INSPECTED, len(x), _MOST_VALUES // max(1, held)))]
    parts: dict[str, list[Floats]] = defaultdict(list)
    noise = _Noise()
    for start in range(0, len(x), _BATCH):
        batch = x[start : start + _BATCH]
        exact = tensors_of(content, [*entering, *(each.output for each in layers.values())], batch)
        given = outputs_of(done.network, {name: each.output for name, each in layers.items()}, batch)
        for name in entering:
            parts[name].append(exact[name])
        for name, values in given.items():
            noise.add(name, exact[layers[name].output], values)
    inputs = {name: torch.from_numpy(np.concatenate(values)) for name, values in parts.items()}
    found = (
        _figures(name, each, done.grids.get(name), inputs[each.input], noise, why_float.get(name, ""))
        for name, each in layers.items()
    )
    return tuple(found), len(x)


def more_nonzero(weight: NDArray[Any], grid: LayerGrid) -> int:
    """How many more weights are not zero once they are rounded: a negative number as a rule."""
    before = _tensor(weight)
    return int(rounded(before, grid.weight).count_nonzero()) - int(before.count_nonzero())


def outputs_of(network: Network, tensors: Mapping[str, str], x: Inputs) -> dict[str, Floats]:
    """What goes out of the layers of a quantized network for x[N, C, H, W], by the tensors they had in float.

    A layer whose result is not there under that name, nor made by a node of the layer's name, is missing. So are all of
    an OpenVINO model: asked for one on the way in INT8, its CPU engine computes wrong values behind it.
    """
    if not isinstance(network, OnnxGraph):
        return {}
    import onnx

    graph = onnx.load_from_string(network.content).graph
    made = {name for node in graph.node for name in node.output}
    by_node = {node.name: node.output[0] for node in graph.node}
    there = {layer: name if name in made else by_node.get(layer, "") for layer, name in tensors.items()}
    there = {layer: name for layer, name in there.items() if name}
    found = tensors_of(network.content, there.values(), x)
    return {layer: found[name] for layer, name in there.items()}


class _Noise:
    """Power of values and of their errors, added up batch by batch."""

    def __init__(self) -> None:
        self._power: dict[str, float] = defaultdict(float)
        self._error: dict[str, float] = defaultdict(float)

    def add(self, layer: str, exact: Floats, given: Floats) -> None:
        """Take these values[N, ...] of a layer into account; nothing where the two have different shapes."""
        if exact.shape == given.shape:
            self._power[layer] += float(np.square(exact, dtype=np.float64).sum())
            self._error[layer] += float(np.square(given - exact, dtype=np.float64).sum())

    def snr_db(self, layer: str) -> float | None:
        """Signal to noise of what goes out of a layer, between -120 and 120 dB; None where it is not known."""
        power, error = self._power.get(layer), self._error.get(layer, 0.0)
        if power is None:
            return None
        if not power or not error:
            return -_LARGEST_SNR_DB if error else _LARGEST_SNR_DB
        return min(max(10 * math.log10(power / error), -_LARGEST_SNR_DB), _LARGEST_SNR_DB)


def _figures(
    name: str, layer: GraphLayer, grid: LayerGrid | None, entering: Tensor, noise: _Noise, why_float: str
) -> LayerQuantization:
    weight = _tensor(layer.weight)
    return LayerQuantization(
        name=name,
        kind=layer.kind,
        parameters=layer.parameters,
        bits=grid.weight.bits if grid else FLOAT_BITS,
        why_float="" if grid else why_float,
        weight_snr_db=snr_db(weight, rounded(weight, grid.weight)) if grid else None,
        input_snr_db=snr_db(entering, rounded(entering, grid.input)) if grid and grid.input else None,
        output_snr_db=noise.snr_db(name),
        weights=histogram(weight),
        weight_grid=summary(grid.weight) if grid else None,
        inputs=histogram(entering),
        input_grid=summary(grid.input) if grid and grid.input else None,
    )


def _tensor(weight: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(weight, np.float32))
