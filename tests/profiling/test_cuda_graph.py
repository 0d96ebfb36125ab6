from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from core.data import Floats
from core.errors import Unavailable
from core.progress import result_of
from profiling.cuda_graph import Replayed
from profiling.latency import measure_latency

X = np.ones((4, 1, 2, 2), np.float32)


class Plain:
    def run(self, x: Floats) -> Floats:
        return 2 * x

    def bind(self, x: Floats) -> Callable[[], None]:
        return lambda: pytest.fail("the call that is not a replay")


class Recording(Plain):
    def __init__(self) -> None:
        self.replays = 0

    def bind_graph(self, x: Floats) -> Callable[[], None]:
        def replay() -> None:
            self.replays += 1

        return replay


def test_what_is_timed_is_the_replay() -> None:
    session = Recording()
    latency = result_of(measure_latency(Replayed(session), X, seconds=0.05))
    assert len(latency.samples_ms) < session.replays
    np.testing.assert_array_equal(Replayed(session).run(X), 2 * X)


def test_a_runtime_without_graphs_says_so() -> None:
    with pytest.raises(Unavailable, match="does not record CUDA graphs"):
        Replayed(Plain()).bind(X)
