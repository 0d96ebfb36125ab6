from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest

import profiling.stages
from core.data import Floats
from profiling.stages import Stages, measure_stages

X = np.zeros((4, 1, 2, 2), np.float32)
Times = tuple[float, float, float, float]


class Plain:
    """A session of an engine that does not tell stages apart."""

    def run(self, x: Floats) -> Floats:
        return x

    def bind(self, x: Floats) -> Callable[[], None]:
        return lambda: None


class Told(Plain):
    """A session that gives chosen times in turn; None stands for a CPU."""

    def __init__(self, *times: Times) -> None:
        self._times = times

    def stages(self, x: Floats) -> Callable[[], Times] | None:
        turns = cycle(self._times)
        return (lambda: next(turns)) if self._times else None


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling.stages, "WARMUP_SECONDS", 0.0)


def test_each_stage_is_kept_apart_with_its_own_median() -> None:
    stages = measure_stages(Told((0.1, 2.0, 0.03, 0.5), (0.2, 3.0, 0.02, 0.6), (0.3, 7.0, 0.01, 0.4)), X, seconds=0)
    assert stages is not None
    assert (stages.batch_size, len(stages.compute_samples)) == (4, profiling.stages.FEWEST_CALLS)
    assert set(stages.compute_samples.array) == {2.0, 3.0, 7.0}
    assert (stages.h2d_ms, stages.compute_ms, stages.d2h_ms, stages.launch_ms) == (0.2, 3.0, 0.02, 0.5)
    assert Stages.model_validate_json(stages.model_dump_json()) == stages


@pytest.mark.parametrize(("launch_ms", "is_bound"), [(0.1, False), (0.79, False), (0.81, True), (1.5, True)])
def test_launching_that_takes_as_long_as_computing_is_what_limits(launch_ms: float, is_bound: bool) -> None:
    stages = measure_stages(Told((0.1, 1.0, 0.1, launch_ms)), X, seconds=0)
    assert stages is not None
    assert stages.enqueue_bound is is_bound


def test_a_cpu_and_an_engine_that_does_not_tell_have_no_stages() -> None:
    assert measure_stages(Told(), X) is None
    assert measure_stages(Plain(), X) is None
