"""The fewest layers in more bits under an accuracy limit, found on what is really served. Imports torch.

Layers are given more bits in the order of their sensitivity. Networks along that path are quantized, exported, opened
by the engine and judged on calibration images: after 0, 1, 2, 4 ... steps and, between the last that loses too much
and the first that does not, by halving.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.bundle import ModelBundle
from core.data import Inputs, Split
from core.progress import Metric, Progress, Steps
from core.quantization import FLOAT_BITS, Path, PathPoint, Upgrade
from optimizers.quantization.quantizer import Bits, Observed, Source
from optimizers.technique import Served

Serve = Callable[[ModelBundle], AbstractContextManager[Served]]
Classes = NDArray[np.int64]

_BATCH = 250


@dataclass(frozen=True, eq=False)
class Judge:
    """Calibration images and what the float network answers to them."""

    x: Inputs
    split: Split
    """The same images with their labels, if they have any."""
    answers: Classes
    """int64 [N]: the float network's."""

    @property
    def has_labels(self) -> bool:
        """Whether right and wrong can be told."""
        return bool((self.split.labels >= 0).any())

    @property
    def float_correct(self) -> int | None:
        """Images that the float network gets right."""
        return self.correct(self.answers)

    def correct(self, answers: Classes) -> int | None:
        """Images that are right; None without labels."""
        return int(self.split.is_correct(answers).sum()) if self.has_labels else None

    def agreed(self, answers: Classes) -> int:
        """Images with the float network's answer."""
        return int((answers == self.answers).sum())

    def margin_points(self, answers: Classes) -> float:
        """One standard error of the loss in percentage points, from the images on which the two networks differ.

        Of a difference of paired proportions: (b + c - (b - c)^2 / n) / n^2 is its variance where b images were broken
        and c mended (Agresti, Categorical Data Analysis, section 11.1); without labels all that differ count as broken.
        One more is counted than was seen, as no difference among a few images does not mean that there is none.
        """
        images = len(answers)
        if self.has_labels:
            right, wanted = self.split.is_correct(answers), self.split.is_correct(self.answers)
            broken, mended = int((wanted & ~right).sum()), int((right & ~wanted).sum())
        else:
            broken, mended = images - self.agreed(answers), 0
        return float(100 * np.sqrt(broken + mended + 1 - (broken - mended) ** 2 / images) / images)

    def keeps(self, point: PathPoint, limit_points: float) -> bool:
        """Whether it loses no more than the limit with one standard error to spare: other images may be less kind."""
        return point.lost_points(self.float_correct) + point.margin_points <= limit_points


def bits_after(order: Sequence[Upgrade], count: int, *, start: Bits) -> dict[str, int]:
    """The bits of each layer after the first `count` upgrades; layers in float are left out.

    >>> order = [Upgrade(layer="a", from_bits=4, to_bits=8), Upgrade(layer="b", from_bits=8, to_bits=32)]
    >>> bits_after(order, 2, start={"a": 4, "b": 8})
    {'a': 8}
    """
    bits = dict(start)
    for step in order[:count]:
        bits[step.layer] = step.to_bits
    return {layer: width for layer, width in bits.items() if width < FLOAT_BITS}


def served_answers(served: Served, x: Inputs) -> Classes:
    """int64 [N]: the class that the engine answers to each of x[N, C, H, W]."""
    parts = [served.run(x[start : start + _BATCH]).argmax(1) for start in range(0, len(x), _BATCH)]
    return np.concatenate(parts).astype(np.int64)


def walk(
    source: Source,
    observed: Observed,
    order: tuple[Upgrade, ...],
    *,
    start: Bits,
    bundle: ModelBundle,
    judge: Judge,
    limit_points: float,
    serve: Serve,
) -> Steps[Path]:
    """The path with its measured points; `chosen` is the first found that keeps within the limit, else its end."""
    points: dict[int, PathPoint] = {}

    def measure(count: int) -> Steps[bool]:
        if count not in points:
            bits = bits_after(order, count, start=start)
            quantized = observed.quantize(bits) if bits else None
            network, precision = (quantized.network, quantized.precision) if quantized else (source.module, "fp32")
            with serve(replace(bundle, network=network, precision=precision)) as served:
                answers = served_answers(served, judge.x)
                points[count] = PathPoint(
                    upgrades=count,
                    correct=judge.correct(answers),
                    agreed=judge.agreed(answers),
                    images=len(answers),
                    p50_ms=served.p50_ms(),
                    size_bytes=served.size_bytes,
                    margin_points=judge.margin_points(answers),
                )
            yield from _tell(points[count], len(points), len(order))
        return judge.keeps(points[count], limit_points)

    yield from _search(measure, len(order))
    found = sorted(points.items())
    kept = (count for count, point in found if judge.keeps(point, limit_points))
    chosen = next(kept, len(order))
    return Path(
        order=order,
        points=tuple(point for _, point in found),
        chosen=chosen,
        limit_points=limit_points,
        float_correct=judge.float_correct,
    )


def _search(measure: Callable[[int], Steps[bool]], last: int) -> Steps[None]:
    """Measure 0, 1, 2, 4 ... and the last, then halve the gap before the first that holds."""
    counts = [0, *(2**power for power in range(last.bit_length()) if 2**power < last), last]
    holds = []
    for count in dict.fromkeys(counts):
        holds.append((count, (yield from measure(count))))
    good = next((count for count, fine in holds if fine), last)
    bad = max((count for count, _ in holds if count < good), default=-1)
    while good - bad > 1:
        middle = (good + bad) // 2
        if (yield from measure(middle)):
            good = middle
        else:
            bad = middle


def _tell(point: PathPoint, done: int, upgrades: int) -> Steps[None]:
    expected = max(done, 2 * upgrades.bit_length() + 1)
    doing = f"served with {point.upgrades} of {upgrades} steps to more bits"
    yield Progress(done=done, total=expected, unit="networks", doing=doing)
    right = point.agreed if point.correct is None else point.correct
    yield Metric(name="accuracy", value=right / point.images, step=point.upgrades, series="path")
