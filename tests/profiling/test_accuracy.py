from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import softmax
from statsmodels.stats.contingency_tables import mcnemar

from core.data import Floats, InputContract, Split
from core.errors import BadInput, RunFailed
from core.progress import Metric, Progress, result_of
from profiling.accuracy import Accuracy, measure_accuracy

CONTRACT = InputContract(1, 2, 2, (100.0,), (50.0,), ("a", "b", "c", "d"))


class Lookup:
    """A session whose logits depend on an image's first pixel alone."""

    def __init__(self, table: Floats) -> None:
        self.table, self.batches = table, []

    def run(self, x: Floats) -> Floats:
        self.batches.append(len(x))
        return self.table[np.rint(x[:, 0, 0, 0] * 50 + 100).astype(int)]

    def bind(self, x: Floats) -> Callable[[], None]:
        return lambda: None


def split_of(labels: list[list[int]]) -> Split:
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(labels))
    return Split(pixels, np.array(labels, np.int64))


@pytest.fixture
def table() -> Floats:
    return np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32) * 3


def test_every_labelled_image_counts_once_and_any_acceptable_class_is_right(table: Floats) -> None:
    best = table.argmax(1)
    labels = [[best[0], -1], [-1, -1], [(best[2] + 1) % 4, best[2]], [(best[3] + 1) % 4, -1], [best[4], -1]]
    session = Lookup(table)
    accuracy = result_of(measure_accuracy(session, split_of(labels), CONTRACT, batch_size=3))
    assert session.batches == [3, 1]
    assert accuracy.predictions.integers.tolist() == best[[0, 2, 3, 4]].tolist()
    assert accuracy.wrong.integers.tolist() == [2]
    assert (accuracy.correct, accuracy.total, accuracy.value) == (3, 4, 0.75)
    np.testing.assert_allclose(accuracy.confidences.array, softmax(table[[0, 2, 3, 4]], axis=1).max(1), atol=6e-5)


def test_the_last_events_tell_the_final_accuracy_and_json_keeps_it(table: Floats) -> None:
    split = split_of([[index % 4] for index in range(100)])
    steps, events = measure_accuracy(Lookup(table), split, CONTRACT, batch_size=7), []
    try:
        while True:
            events.append(next(steps))
    except StopIteration as stop:
        accuracy = stop.value
    expected = (table.argmax(1) == np.arange(100) % 4).mean()
    progress, metric = events[-2:]
    assert isinstance(progress, Progress)
    assert (progress.done, progress.total) == (100, 100)
    assert isinstance(metric, Metric)
    assert (metric.name, metric.series, metric.step) == ("accuracy", "test", 100)
    assert metric.value == pytest.approx(expected)
    assert Accuracy.model_validate_json(accuracy.model_dump_json()) == accuracy
    assert accuracy.value == pytest.approx(expected)
    assert accuracy.interval[0] < expected < accuracy.interval[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_fail_the_run(table: Floats, value: float) -> None:
    table[5, 2] = value
    with pytest.raises(RunFailed, match="not finite"):
        result_of(measure_accuracy(Lookup(table), split_of([[0]] * 10), CONTRACT))


class Cramped(Lookup):
    """Has room for so many images at once."""

    def __init__(self, table: Floats, room: int) -> None:
        super().__init__(table)
        self.room = room

    def run(self, x: Floats) -> Floats:
        if len(x) > self.room:
            raise RuntimeError("CUDA out of memory")
        return super().run(x)


def test_where_memory_runs_out_it_goes_on_with_half_as_many_once(table: Floats) -> None:
    split, session = split_of([[index % 4] for index in range(20)]), Cramped(table, 4)
    assert result_of(measure_accuracy(session, split, CONTRACT, batch_size=8)) == result_of(
        measure_accuracy(Lookup(table), split, CONTRACT)
    )
    assert session.batches == [4] * 5
    with pytest.raises(RuntimeError, match="out of memory"):
        result_of(measure_accuracy(Cramped(table, 3), split, CONTRACT, batch_size=8))


def test_a_split_without_labels_is_refused(table: Floats) -> None:
    with pytest.raises(BadInput, match="without a label"):
        result_of(measure_accuracy(Lookup(table), split_of([[-1]] * 3), CONTRACT))


def test_two_variants_are_compared_image_by_image() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 4, 400)
    first, second = (np.where(generator.random(400) < share, truth, (truth + 1) % 4) for share in (0.9, 0.8))
    one, other = (accuracy_of(predicted, truth) for predicted in (first, second))
    right = [(first == truth), (second == truth)]
    table = [[np.sum(right[0] & right[1]), np.sum(right[0] & ~right[1])], [np.sum(~right[0] & right[1]), 0]]
    assert one.mcnemar_against(other) == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert one.mcnemar_against(other) == pytest.approx(other.mcnemar_against(one))
    assert one.agreement_with(other) == pytest.approx((first == second).mean())


def test_different_test_sets_are_not_compared() -> None:
    truth = np.zeros(5, np.int64)
    with pytest.raises(BadInput, match="same test images"):
        accuracy_of(truth, truth).agreement_with(accuracy_of(truth[:4], truth[:4]))


def accuracy_of(predicted: np.ndarray, truth: np.ndarray) -> Accuracy:
    wrong = np.flatnonzero(predicted != truth)
    return Accuracy(predictions=tuple(predicted.tolist()), confidences=(1.0,) * len(truth), wrong=tuple(wrong.tolist()))
