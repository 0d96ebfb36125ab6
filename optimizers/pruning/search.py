"""The pruning ratio for a wanted speed-up, found by cutting and measuring candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from core.bundle import ModelBundle
from core.errors import BadInput
from core.progress import Progress, Steps
from core.pruning import SearchPoint
from optimizers.technique import Served

if TYPE_CHECKING:
    from torch import nn

Serve = Callable[[ModelBundle], AbstractContextManager[Served]]
SpeedUp = Callable[["nn.Module"], float]
"""How many times less than the uncut network a candidate takes."""

_PAIRS = 5
_FINEST = 0.0005
"""Ratios closer than this are not told apart."""


@dataclass(frozen=True)
class Aim:
    """When a search is over."""

    wanted: float
    """Speed-up."""
    tolerance: float
    """Relative deviation that is as good as none."""
    most: int
    """Candidates at the most."""


MACS_TOLERANCE, LATENCY_TOLERANCE = 0.02, 0.04
MOST_COUNTED, MOST_TIMED = 24, 8


def search(
    aim: Aim,
    measure: Callable[[float], float],
    *,
    highest: float,
    widths: Callable[[float], tuple[int, ...]],
    low: float = 0.0,
) -> Steps[tuple[SearchPoint, ...]]:
    """Ratios between `low` and `highest` in the order they were tried; the one closest to the aim comes last.

    Halving, at places where the logarithm of the speed-up, drawn over that of the share left, would reach the aim. A
    ratio that leaves the same `widths` as one that is known is not tried. The network at a `low` above 0 is not the
    uncut one and is measured first, as a candidate. Raises `BadInput` where even `highest` leads nowhere near.
    """
    low = min(low, highest)
    points: list[SearchPoint] = []
    below, above = SearchPoint(ratio=low, value=1.0), SearchPoint(ratio=highest, value=math.inf)
    ratio: float | None = low or _guess(below, aim, highest)
    while ratio is not None and len(points) < aim.most:
        point = SearchPoint(ratio=ratio, value=measure(ratio))
        points.append(point)
        yield Progress(
            done=len(points), total=aim.most, unit="candidates", doing=f"ratio {ratio:.3f}: {point.value:.2f}x"
        )
        if _deviation(point, aim) <= aim.tolerance:
            break
        if point.value > aim.wanted:
            above = point
            if ratio == low:
                break
        elif ratio == highest:
            break
        else:
            below = point
        if ratio == low:
            guess = _guess(below, aim, highest)
            ratio = guess if widths(guess) != widths(low) else highest
        else:
            ratio = _between(below, above, aim, widths)
    best = min(points, key=lambda point: _deviation(point, aim))
    if best.ratio == highest and best.value < aim.wanted * (1 - aim.tolerance):
        raise _out_of_reach(best, aim)
    return (*(point for point in points if point is not best), best)


def _deviation(point: SearchPoint, aim: Aim) -> float:
    return abs(point.value / aim.wanted - 1)


def _guess(below: SearchPoint, aim: Aim, highest: float) -> float:
    """A first ratio, as if all layers shrank in inputs and outputs alike and time were arithmetic."""
    return min(1 - (1 - below.ratio) * math.sqrt(below.value / aim.wanted), highest)


def _between(
    below: SearchPoint, above: SearchPoint, aim: Aim, widths: Callable[[float], tuple[int, ...]]
) -> float | None:
    """The next ratio to try; None where no other network lies between the two."""
    if math.isinf(above.value):
        return above.ratio
    low, high, ratio = below.ratio, above.ratio, _crossing(below, above, aim)
    ends = widths(low), widths(high)
    while high - low > _FINEST:
        here = widths(ratio)
        if here not in ends:
            return ratio
        low, high = (ratio, high) if here == ends[0] else (low, ratio)
        ratio = (low + high) / 2
    return None


def _crossing(below: SearchPoint, above: SearchPoint, aim: Aim) -> float:
    """Where the line through both reaches the aim, but never so near an end that little would be learned."""
    rise = math.log(above.value / below.value)
    share = math.log(aim.wanted / below.value) / rise if rise > 0 else 0.5
    left = [math.log(1 - point.ratio) for point in (below, above)]
    return 1 - math.exp(left[0] + min(max(share, 0.1), 0.9) * (left[1] - left[0]))


def _out_of_reach(best: SearchPoint, aim: Aim) -> BadInput:
    return BadInput(
        f"{aim.wanted:g}x was asked for, and pruning {best.ratio:.0%} of the channels gives {best.value:.2f}x",
        expected=f"no more than {best.value:.2f}x, which is as far as pruning this network goes",
        action="Ask for less, round to a smaller multiple, or let more layers lose channels",
    )


def by_macs(bundle: ModelBundle) -> SpeedUp:
    """Multiply-accumulates of the bundle's network over those of a candidate."""
    from core.macs import count_macs

    uncut = count_macs(bundle.module, bundle.contract)
    return lambda network: uncut / count_macs(network, bundle.contract)


@contextmanager
def by_latency(bundle: ModelBundle, serve: Serve) -> Iterator[SpeedUp]:
    """Median latency of the bundle's network over that of a candidate, both served at the same time.

    They are timed in turns and each turn is compared in itself, so that a machine that becomes slower or faster
    meanwhile does not count; the median of the turns is told.
    """
    with serve(bundle) as uncut:

        def speed_up(network: nn.Module) -> float:
            with serve(replace(bundle, network=network)) as candidate:
                return median(_turn(uncut, candidate, number) for number in range(_PAIRS))

        yield speed_up


def _turn(uncut: Served, candidate: Served, number: int) -> float:
    pair = (uncut, candidate) if number % 2 else (candidate, uncut)
    times = {id(served): served.p50_ms() for served in pair}
    return times[id(uncut)] / times[id(candidate)]
