"""Requests that overlap: the arithmetic on chosen answers, and stand-ins for sessions that give them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from core.data import Floats
from core.packed import Packed
from core.progress import Note
from profiling import parallel
from profiling.parallel import Parallel, measure_parallel
from tests.optimizers.conftest import events_and_result

X = np.zeros((4, 1, 2, 2), np.float32)


def of(gaps_ms: np.ndarray, latencies: np.ndarray | None = None) -> Parallel:
    """Answers with these gaps between them."""
    took = gaps_ms if latencies is None else latencies
    return Parallel(
        batch_size=4,
        requests=2,
        answered=Packed.of(np.cumsum(gaps_ms), "<u4", 10_000),
        latencies=Packed.of(took, "<u4", 10_000),
        contended_share=None,
    )


def test_throughput_is_images_over_the_time_that_passed() -> None:
    assert of(np.full(50, 2.0)).throughput_per_s == pytest.approx(4 * 50 / 0.1)
    assert of(np.array([1.0, 3.0])).throughput_per_s == pytest.approx(4 * 2 / 0.004)


def test_latencies_are_those_of_the_requests_not_the_gaps_between_answers() -> None:
    measured = of(np.full(100, 2.0), np.linspace(5, 25, 100))
    assert measured.p50_ms == pytest.approx(15)
    assert measured.p95_ms == pytest.approx(24)
    assert of(np.full(71, 2.0)).p95_ms is None


def test_the_interval_is_that_of_scipys_bootstrap_over_blocks() -> None:
    gaps = np.random.default_rng(3).gamma(4, 0.5, 400)
    measured = of(gaps)
    low, high = measured.throughput_interval_per_s or (0, 0)
    assert low < measured.throughput_per_s < high
    blocks = (gaps.reshape(20, 20).sum(1),)
    drawn = stats.bootstrap(blocks, lambda ms, axis: 4 * 20 * 1000 / ms.mean(axis), method="percentile", rng=1)
    assert (low, high) == pytest.approx(tuple(drawn.confidence_interval), rel=0.01)


def test_too_few_answers_have_no_interval() -> None:
    assert of(np.full(5, 2.0)).throughput_interval_per_s is None
    assert of(np.full(6, 2.0)).throughput_interval_per_s == pytest.approx((2000, 2000))


def test_raw_samples_survive_the_store() -> None:
    measured = of(np.array([1.25, 3.5]))
    assert Parallel.model_validate_json(measured.model_dump_json()) == measured
    assert measured.model_dump(mode="json", context={"plain": True})["latencies"] == [1.25, 3.5]


class OneByOne:
    def run(self, x: Floats) -> Floats:
        return x

    def bind(self, x: Floats) -> Callable[[], None]:
        return lambda: None


class Flooded(OneByOne):
    """Answers every 10 ms, requests of 20 ms; the last comes when no more are asked for. Two change places."""

    def __init__(self, requests: int = 2, first_ms: float = 10.0) -> None:
        self.requests, self._first_ms = requests, first_ms
        self.asked: list[tuple[int, float]] = []

    def flood(self, x: Floats, seconds: float) -> list[tuple[float, float]]:
        self.asked.append((len(x), seconds))
        at = np.arange(self._first_ms, max(self._first_ms, 1000 * seconds) + 11, 10.0)
        answers = [(float(when), 20.0) for when in at]
        answers[-3:-1] = answers[-2:-4:-1]
        return answers


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WARMUP_SECONDS", 0.1)


def test_what_was_answered_between_warm_up_and_end_counts() -> None:
    session = Flooded()
    _, measured = events_and_result(measure_parallel(session, X, seconds=0.5))
    assert session.asked == [(4, 0.6)]
    assert measured is not None
    assert (measured.batch_size, measured.requests) == (4, 2)
    # Of answers at 10, 20 ... 610 ms those from 100 up to, and without, 600.
    assert len(measured.answered) == 50
    assert measured.throughput_per_s == pytest.approx(400)
    assert measured.throughput_interval_per_s == pytest.approx((400, 400))
    assert measured.p50_ms == 20
    alone_per_s = 1000 * len(X) / measured.p50_ms
    assert measured.throughput_per_s == pytest.approx(2 * alone_per_s)


def test_there_is_nothing_to_tell_of_a_session_that_answers_one_by_one() -> None:
    assert events_and_result(measure_parallel(OneByOne(), X, seconds=0.1)) == ([], None)


@pytest.mark.parametrize(
    ("session", "said"), [(Flooded(requests=1), "more CPU threads"), (Flooded(first_ms=200), "take too long")]
)
def test_a_note_says_why_nothing_was_measured(session: Flooded, said: str) -> None:
    events, measured = events_and_result(measure_parallel(session, X, seconds=0.05))
    assert measured is None
    assert said in next(event.text for event in events if isinstance(event, Note))
