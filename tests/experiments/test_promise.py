from __future__ import annotations

import pytest

from experiments.promise import Figure, Figures, Verdict, figures_of_profile, outcome, promised
from tests.experiments.profiled import ANATOMY, profile_result

BEFORE: Figures = {"p50_ms": Figure(1.0, 0.98, 1.02), "throughput_per_s": Figure(1000, 980, 1020)}


@pytest.mark.parametrize(
    ("measure", "low", "value", "high", "verdict"),
    [
        # at most 0.5 times 1 ms, of which nobody knows more than that it lies between 0.49 and 0.51
        ("p50_ms", 0.30, 0.31, 0.32, "kept"),
        ("p50_ms", 0.48, 0.485, 0.49, "kept"),
        ("p50_ms", 0.48, 0.49, 0.50, "unclear"),
        ("p50_ms", 0.505, 0.52, 0.53, "unclear"),
        ("p50_ms", 0.52, 0.53, 0.54, "broken"),
        # at least half of 1,000 images a second, between 490 and 510
        ("throughput_per_s", 511, 520, 530, "kept"),
        ("throughput_per_s", 500, 505, 520, "unclear"),
        ("throughput_per_s", 470, 480, 489, "broken"),
    ],
)
def test_a_promise_is_kept_broken_or_unclear(
    measure: str, low: float, value: float, high: float, verdict: Verdict
) -> None:
    promise = promised(measure, 0.5, BEFORE[measure], "")
    assert outcome(promise, BEFORE, {measure: Figure(value, low, high)}).verdict == verdict


def test_it_is_told_with_units() -> None:
    promise = promised("p50_ms", 0.42, Figure(1.0, 0.99, 1.01), "")
    assert promise.words == "at most 0.420 ms instead of 1.00 ms"
    assert promise.worth == pytest.approx(0.58)
    kept = outcome(promise, BEFORE, {"p50_ms": Figure(0.31, 0.30, 0.32)})
    assert kept.sentence == "Promised: at most 0.420 ms; measured: 0.310 ms, kept."
    smaller = promised("size_bytes", 0.25, Figure(4 * 2**20, 4 * 2**20, 4 * 2**20), "")
    assert smaller.words == "at most 1.00 MiB instead of 4.00 MiB"


def test_without_a_value_before_nothing_is_said() -> None:
    promise = promised("accuracy", 1.01, None, "")
    found = outcome(promise, {}, {"accuracy": Figure(0.9, 0.89, 0.91)})
    assert found.verdict == "unclear"
    assert "not measured" in found.sentence


def test_a_profile_alone_knows_latency_and_weights() -> None:
    known = figures_of_profile(profile_result())
    assert known["p50_ms"].value == 0.55
    assert known["p50_ms"].low <= 0.55 <= known["p50_ms"].high
    assert known["throughput_per_s"].value == pytest.approx(1000 / 0.55)
    assert known["size_bytes"].value == 4 * ANATOMY.parameters == 4 * 407_680
    assert "size_bytes" not in figures_of_profile(profile_result(precision="int8"))
    assert "accuracy" not in known


def test_a_time_that_other_work_disturbed_is_not_judged() -> None:
    before = {"p50_ms": Figure(1.0, 0.99, 1.01), "size_bytes": Figure(100, 100, 100)}
    after = {"p50_ms": Figure(0.5, 0.49, 0.51), "size_bytes": Figure(50, 50, 50)}
    faster, smaller = promised("p50_ms", 0.8, None, ""), promised("size_bytes", 0.8, None, "")
    assert outcome(faster, before, after).verdict == "kept"
    found = outcome(faster, before, after, is_disturbed=True)
    assert found.verdict == "unclear"
    assert "0.500 ms, while other work disturbed the timing" in found.sentence
    assert outcome(smaller, before, after, is_disturbed=True).verdict == "kept"


def test_what_became_of_the_accuracy_stands_beside_what_was_promised() -> None:
    before = {"parameter_count": Figure(10e6, 10e6, 10e6), "accuracy": Figure(0.9374, 0.93, 0.94)}
    after = {"parameter_count": Figure(5e6, 5e6, 5e6), "accuracy": Figure(0.933, 0.93, 0.94)}
    found = outcome(promised("parameter_count", 0.6, None, ""), before, after)
    assert found.sentence.endswith("kept. Accuracy: 93.74 % before, 93.30 % after.")
