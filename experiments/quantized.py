"""What a report on a quantized network says in words and figures: where it diverges, what is clipped, every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.quantization import FLOAT_BITS, GridSummary, Histogram, LayerQuantization, QuantizationReport

EXACT_DB = 100.0
"""Beyond this nothing was rounded: the error is that of float32 itself."""
ONE_BIT_DB = 6.02
MOST_NAMES = 4


def shown_db(value: float | None) -> float | None:
    """The ratio, or None where there is no error to speak of."""
    return None if value is None or value >= EXACT_DB else value


def error_share(snr_db: float) -> float:
    """The error's power over the signal's.

    >>> error_share(20)
    0.01
    """
    return float(10 ** (-snr_db / 10))


def usual_db(bits: int) -> float:
    """The ratio that rounding normally distributed values to a grid of 4 standard deviations leaves.

    6.02 x bits - 7.27 dB: Jayant and Noll, Digital Coding of Waveforms, 1984, section 4.3.
    """
    return ONE_BIT_DB * bits - 7.27


@dataclass(frozen=True)
class Fall:
    """How much the output's signal-to-noise ratio falls from one layer to the next."""

    layer: LayerQuantization
    before_db: float
    after_db: float
    is_first: bool
    """Whether nothing was wrong before: `before_db` is then what its bits usually leave."""
    lasts: bool
    """Whether no later layer wins back half of it: around a layer inside a branch, other paths carry the signal."""

    @property
    def db(self) -> float:
        """By how much it falls."""
        return self.before_db - self.after_db


def steepest_fall(layers: Sequence[LayerQuantization]) -> Fall | None:
    """The layer at which the output's ratio falls most, in the order of execution; None where it never falls.

    The first layer with an error falls from what its bits usually leave, as there is nothing before it.
    """
    known = [(layer, db) for layer in layers if (db := shown_db(layer.output_snr_db)) is not None]
    falls: list[Fall] = []
    for place, (layer, after) in enumerate(known):
        before = known[place - 1][1] if place else usual_db(min(layer.bits, 8))
        later = [db for _, db in known[place + 1 :]]
        lasts = all(db < (before + after) / 2 for db in later)
        falls.append(Fall(layer, before, after, is_first=place == 0, lasts=lasts))
    steepest = max(falls, key=lambda fall: fall.db, default=None)
    return steepest if steepest and steepest.db > 0 else None


def worst_layer(layers: Sequence[LayerQuantization]) -> LayerQuantization:
    """The layer to look at first: where the output falls most; else the one that hurts most alone; else the first."""
    fall = steepest_fall(layers)
    return fall.layer if fall else max(layers, key=lambda layer: layer.sensitivity or 0.0)


def clipped_share(values: Histogram, grid: GridSummary) -> float:
    """The share of the values that lie more than half a step beyond the grid's ends, 0 to 1.

    Values count as spread evenly within their bin.
    """
    low, high, counts = values.range.low, values.range.high, values.counts
    half_step = max(map(abs, grid.scales)) / 2
    first, last = grid.covers.low - half_step, grid.covers.high + half_step
    width = (high - low) / len(counts)
    if not width:
        return 0.0 if first <= low <= last else 1.0
    outside = 0.0
    for place, count in enumerate(counts):
        left = low + place * width
        inside = max(0.0, min(last, left + width) - max(first, left)) / width
        outside += count * (1 - inside) if inside < 1 - 1e-9 else 0.0
    return outside / max(1, sum(counts))


def clipped_inputs(layer: LayerQuantization) -> float | None:
    """The share of what comes in that is clipped, 0 to 1; None where it has no fixed grid."""
    return clipped_share(layer.inputs, layer.input_grid) if layer.inputs and layer.input_grid else None


def number_format(bits: int, precision: str = "") -> str:
    """`INT8`, `float`; `FP8` and `NVFP4` where that is what the network computes in."""
    if bits == FLOAT_BITS:
        return "float"
    if precision in ("fp8", "nvfp4"):
        return precision.upper()
    return f"INT{bits} weights" if precision in ("w8", "w4") else f"INT{bits}"


def headline(report: QuantizationReport, precision: str = "") -> str:
    """`15 of 16 layers in INT8 by NNCF. Left in float: head (why).`"""
    widths = sorted({layer.bits for layer in report.quantized}, reverse=True)
    parts = [
        f"{sum(layer.bits == bits for layer in report.layers)} of {len(report.layers)} layers in "
        f"{number_format(bits, precision)}"
        for bits in widths
    ]
    words = f"{' and '.join(parts) or f'0 of {len(report.layers)} layers quantized'} by {report.quantizer}"
    return f"{words}. {_left_in_float(report.layers)}".strip()


def _left_in_float(layers: Sequence[LayerQuantization]) -> str:
    """Every reason once, with the layers it is for."""
    by_reason: dict[str, list[str]] = {}
    for layer in layers:
        if layer.bits == FLOAT_BITS:
            by_reason.setdefault(layer.why_float.strip().rstrip("."), []).append(layer.name)
    parts = [f"{_names(names)} ({reason[:1].lower()}{reason[1:]})" for reason, names in by_reason.items()]
    return f"Left in float: {'; '.join(parts)}." if parts else ""


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMES])} and {more} more"


def layer_table(report: QuantizationReport, precision: str = "") -> pd.DataFrame:
    """One row a layer, in the order of execution; ratios without an error to speak of are missing."""
    rows: list[dict[str, Any]] = [
        {
            "place": place,
            "name": layer.name,
            "kind": layer.kind,
            "parameters": layer.parameters,
            "number_format": number_format(layer.bits, precision),
            "why_float": layer.why_float,
            "output_snr_db": shown_db(layer.output_snr_db),
            "input_snr_db": shown_db(layer.input_snr_db),
            "weight_snr_db": shown_db(layer.weight_snr_db),
            "clipped_percent": 100 * share if (share := clipped_inputs(layer)) is not None else None,
            "sensitivity": layer.sensitivity,
        }
        for place, layer in enumerate(report.layers, start=1)
    ]
    frame = pd.DataFrame(rows)
    measures = ["output_snr_db", "input_snr_db", "weight_snr_db", "clipped_percent", "sensitivity"]
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in measures})
