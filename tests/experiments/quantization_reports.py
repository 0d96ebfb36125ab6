"""Reports on quantized networks with known figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.quantization import (
    FLOAT_BITS,
    GridSummary,
    Histogram,
    LayerQuantization,
    Path,
    PathPoint,
    QuantizationReport,
    Range,
    Upgrade,
)


def layer_of(name: str, output_snr_db: float | None, *, bits: int = 8, **changes: Any) -> LayerQuantization:
    """A layer with normally distributed values, its grids as symmetric min-max calibration would choose them."""
    noise = np.random.default_rng(len(name))
    weights, inputs = histogram_of(noise.normal(0, 0.1, 20_000)), histogram_of(noise.normal(0, 1, 20_000))
    is_float = bits == FLOAT_BITS
    settings = {
        "kind": "Conv2d",
        "parameters": 2304,
        "why_float": "Kept by the pattern head." if is_float else "",
        "sensitivity": 0.01,
        "weight_snr_db": None if is_float else 6.02 * bits - 7,
        "input_snr_db": None if is_float else 40.0,
        "weights": weights,
        "weight_grid": None if is_float else grid_of(weights.range, bits, scales=(0.25, 0.5, 1.0)),
        "inputs": inputs,
        "input_grid": None if is_float else grid_of(inputs.range, 8),
    }
    return LayerQuantization(name=name, output_snr_db=output_snr_db, bits=bits, **(settings | changes))


def histogram_of(values: Any, bins: int = 96) -> Histogram:
    """Counts in equal bins from the smallest to the largest of the values."""
    counts, edges = np.histogram(values, bins)
    return Histogram(range=Range(low=edges[0], high=edges[-1]), counts=tuple(map(int, counts)))


def grid_of(reach: Range, bits: int, *, scales: Sequence[float] = (1.0,)) -> GridSummary:
    """A symmetric grid over the reach; `scales` are shares of the largest scale, ascending."""
    most = 2 ** (bits - 1) - 1
    largest = max(-reach.low, reach.high) / most
    found = tuple(share * largest for share in scales)
    covers = Range(low=-most * largest, high=most * largest)
    return GridSummary(bits=bits, low=-most, high=most, scales=found, zero_point=0, covers=covers)


def report_of(*layers: LayerQuantization, path: Path | None = None) -> QuantizationReport:
    """A report on these layers."""
    return QuantizationReport(
        quantizer="NNCF", images=64, layers=layers, parameter_count=1000, nonzero_count=990, path=path
    )


def path_over(names: Sequence[str], *, lost: Sequence[int], chosen: int, limit: float = 1.0) -> Path:
    """From 8 bits to float, layer after layer; each entry of `lost` is a measured point, in images of 1,000."""
    counts = [0, *(2**power for power in range(len(lost) - 2)), len(names)][: len(lost)]
    points = [
        PathPoint(
            upgrades=count, correct=920 - wrong, agreed=990 - wrong, images=1000, p50_ms=1 + 0.1 * count,
            size_bytes=70_000 + 1000 * count, margin_points=0.1 if wrong else 0.0,
        )
        for count, wrong in zip(counts, lost, strict=True)
    ]  # fmt: skip
    return Path(
        order=tuple(Upgrade(layer=name, from_bits=8, to_bits=FLOAT_BITS) for name in names),
        points=tuple(points),
        chosen=chosen,
        limit_points=limit,
        float_correct=920,
    )


def long_report(count: int = 50) -> QuantizationReport:
    """Many layers with long names, a fall at one of them and a few in float."""
    layers = []
    for number in range(count):
        kind = ("depthwise Conv2d", "Conv2d", "Linear")[number % 3]
        fell = 11 if number >= 20 else 0
        layers.append(
            layer_of(
                f"backbone.stages.{number // 6}.blocks.{number % 6}.conv_projection",
                max(6.0, 39 - 0.3 * number - fell),
                bits=FLOAT_BITS if number in (7, 30, 31) else 8,
                kind=kind,
                sensitivity=float(np.exp(-number / 6)),
            )
        )
    names = [layer.name for layer in layers]
    return report_of(*layers, path=path_over(names, lost=(60, 41, 22, 9, 6, 2, 0), chosen=4))
