from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from torch import nn

from core.bundle import ModelBundle
from core.errors import BadInput
from core.progress import Progress
from core.pruning import SearchPoint
from optimizers.pruning.search import Aim, by_latency, search
from tests.optimizers.conftest import TinyNet, events_and_result

WIDTH = 128


def widths(ratio: float) -> tuple[int, ...]:
    """A layer whose width is a multiple of 4."""
    return (int(WIDTH * (1 - ratio)) // 4 * 4,)


def squared(ratio: float) -> float:
    """Arithmetic between two such layers."""
    return float((WIDTH / widths(ratio)[0]) ** 2)


def found(measure: Callable[[float], float], aim: Aim, **more: Any) -> tuple[SearchPoint, ...]:
    events, points = events_and_result(search(aim, measure, **({"highest": 0.9, "widths": widths} | more)))
    assert [event.done for event in events if isinstance(event, Progress)] == list(range(1, len(points) + 1))
    return points


@pytest.mark.parametrize("wanted", [1.25, 2, 3, 6, 8])
def test_it_ends_at_the_width_that_comes_closest(wanted: float) -> None:
    points = found(squared, Aim(wanted, 0.001, 24))
    best = min((squared(1 - left / WIDTH) for left in range(16, 129, 4)), key=lambda value: abs(value / wanted - 1))
    assert points[-1].value == best
    assert len({widths(point.ratio) for point in points}) == len(points)


def test_few_candidates_suffice_where_engines_have_a_floor() -> None:
    """Half of the time does not shrink with the arithmetic, as on small networks."""
    points = found(lambda ratio: 1 / (0.4 + 0.6 * (1 - ratio) ** 2), Aim(2.0, 0.04, 8))
    assert abs(points[-1].value / 2 - 1) <= 0.04
    assert len(points) <= 6


def test_it_gives_up_where_the_highest_ratio_is_not_enough() -> None:
    with pytest.raises(BadInput, match=r"3x was asked for, and pruning 90% of the channels gives 1\.98x"):
        found(lambda ratio: 1 / (0.5 + 0.5 * (1 - ratio) ** 2), Aim(3.0, 0.04, 8))


def test_it_never_tries_more_than_allowed() -> None:
    assert len(found(squared, Aim(3.0, 0.0001, 24))) > 1
    assert len(found(squared, Aim(3.0, 0.0001, 1))) == 1


def test_what_is_left_of_earlier_rounds_is_measured_before_it_counts() -> None:
    """At 30 % the network is 2.12 times as fast already, which is nearer to 2 than anything narrower."""
    assert [point.ratio for point in found(squared, Aim(2.0, 0.001, 24), low=0.3)] == [0.3]
    first, *_, last = sorted(found(squared, Aim(4.0, 0.001, 24), low=0.3), key=lambda point: point.ratio)
    assert (first.ratio, first.value, last.value) == (0.3, squared(0.3), 4.0)


class Drifting:
    """Served on a machine that becomes 5 % slower with every timing."""

    size_bytes = 0
    timings = count()

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def run(self, x: Any) -> Any:
        return x

    def p50_ms(self) -> float:
        return self.ms * 1.05 ** next(self.timings)


def test_drift_of_the_machine_cancels(bundle: ModelBundle) -> None:
    """The uncut network takes 6 ms and the candidate 2 ms, at any time; one of the orders favours each."""
    open_now: list[nn.Module] = []

    @contextmanager
    def serve(served: ModelBundle) -> Iterator[Drifting]:
        open_now.append(served.module)
        yield Drifting(6.0 if served is bundle else 2.0)
        open_now.remove(served.module)

    narrow = TinyNet(8)
    with by_latency(bundle, serve) as speed_up:
        assert open_now == [bundle.module]
        assert speed_up(narrow) == pytest.approx(3, rel=0.06)
    assert open_now == []
