"""What a live view draws over a run's seconds: kinds of curve, the phases behind them, and long series made short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from core.judging import Judging
from core.progress import Telemetry
from ui.text import FEW_MICROSECONDS

MOST_POINTS = 240
"""Points drawn of one curve."""
CLOSE_SECONDS = 0.5
"""Samples of the machine that follow each other within this are joined without asking why."""
SILENCE_SECONDS = 5.0
"""Samples farther apart than this are not joined by a line: nobody looked in between."""

Point = tuple[float, float]
"""Seconds since the run's first event, and a value."""


@dataclass(frozen=True)
class Curve:
    """A line of one chart. A series that goes on in another phase is another curve of the same name."""

    series: str
    """train, validation, test; empty where there is only one."""
    points: list[Point]


@dataclass(frozen=True)
class CurveKind:
    """One chart of the live view: which events feed it and how its values read."""

    key: str
    title: str
    unit: str
    scale: float = 1.0
    """What a stored value is multiplied by to be in that unit."""
    is_brief: bool = False
    """Whether it belongs to one short phase, so that its time axis spans only that."""
    bounds: tuple[float | None, float | None] = (None, None)
    """Fixed ends of the value axis; None follows the values."""
    limit: float | None = None
    """In the unit, what no value can exceed, nor therefore the value axis."""
    least_share: float = 0.0
    """Of the values themselves, what the value axis spans at least, so that mere noise does not look like a trend."""


CURVES = {
    kind.key: kind
    for kind in (
        CurveKind("accuracy", "Accuracy", "%", 100, limit=100),
        CurveKind("loss", "Loss", ""),
        CurveKind("sparsity", "Zeros among the pruned weights", "%", 100, bounds=(0, 100)),
        CurveKind("samples_per_s", "Training speed", "images/s", bounds=(0, None)),
        CurveKind("training_bytes", "Memory of a training step", "MiB", 2**-20, bounds=(0, None)),
        CurveKind("loss_scale", "Loss scale", ""),
        CurveKind("latency_ms", "Latency, median of each block", "ms", is_brief=True, least_share=0.2),
        CurveKind("throughput_per_s", "Throughput of growing batches", "images/s", is_brief=True),
        CurveKind("ratio", "How many times faster, so far", "x", is_brief=True),
        CurveKind("process_rss_bytes", "Memory of the process", "MiB", 2**-20),
        CurveKind("machine_cpu_percent", "Processor, all cores", "%", bounds=(0, 100)),
        CurveKind("gpu_used_bytes", "GPU memory in use", "GiB", 2**-30),
        CurveKind("gpu_utilisation_percent", "GPU utilisation", "%", bounds=(0, 100)),
        CurveKind("gpu_power_w", "GPU power", "W", bounds=(0, None)),
        CurveKind("gpu_sm_clock_mhz", "GPU clock", "MHz", bounds=(0, None)),
        CurveKind("gpu_temperature_c", "GPU temperature", "°C"),
    )
}
"""In the order they are drawn. Telemetry's curves bear the names of its fields."""
TELEMETRY = tuple(key for key in CURVES if key in Telemetry.model_fields)
ALWAYS = ("accuracy", "latency_ms", "process_rss_bytes")


@dataclass(frozen=True)
class Band:
    """A phase behind the curves, in seconds since the run's first event."""

    title: str
    start: float
    end: float
    timed: bool
    """Whether latency was timed, so that telemetry rested."""


def curve_kind(key: str, judging: Judging) -> CurveKind:
    """The chart of that key as it is called where examples are judged so: `Agreement` where they have no labels."""
    kind = CURVES[key]
    if key == "accuracy":
        return replace(kind, title=judging.title)
    return replace(kind, unit=f"{judging.unit}/s") if kind.unit == "images/s" else kind


def in_fitting_unit(kind: CurveKind, curves: Sequence[Curve]) -> tuple[CurveKind, Sequence[Curve]]:
    """The same in microseconds where times in ms are told so; else as they are."""
    values = [value for curve in curves for _, value in curve.points]
    if kind.unit != "ms" or not values or not 0 < median(values) < FEW_MICROSECONDS:
        return kind, curves
    finer = [replace(curve, points=[(at, 1000 * value) for at, value in curve.points]) for curve in curves]
    return replace(kind, unit="µs", scale=1000 * kind.scale), finer


def stretches(points: Sequence[Point], bands: Sequence[Band]) -> list[list[Point]]:
    """The points in their order, parted where a timed phase or a long silence lies between two of them."""
    timed = [band for band in bands if band.timed]
    parts = [list(points[:1])]
    for before, after in pairwise(points):
        if after[0] - before[0] > CLOSE_SECONDS and _are_apart(before[0], after[0], timed):
            parts.append([])
        parts[-1].append(after)
    return parts


def _are_apart(before: float, after: float, timed: Sequence[Band]) -> bool:
    rested = any(min(after, band.end) > max(before, band.start) for band in timed)
    return rested or after - before > SILENCE_SECONDS


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` of the points: ends, and the lowest and highest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    inner, stretches = points[1:-1], (most - 2) // 2
    kept = [points[0]]
    for number in range(stretches):
        stretch = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        extremes = (min(stretch, key=_value), max(stretch, key=_value))
        kept += sorted(set(extremes))
    return [*kept, points[-1]]


def _value(point: Point) -> float:
    return point[1]
