from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from experiments.measures import MEASURES, front, unmeasured

MIB = 2**20


def random_table(seed: int, count: int) -> pd.DataFrame:
    """Coarse values, so that there are ties, and gaps in what was measured."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "run_id": [f"run {index}" for index in range(count)],
            "title": [f"variant {index}" for index in range(count)],
            "is_baseline": np.arange(count) == 0,
            "accuracy": draw.integers(850, 950, count) / 1000,
            "p50_ms": draw.integers(1, 60, count) / 10,
            "size_bytes": draw.integers(1, 20, count) * MIB,
            "joules": [None if share < 0.3 else share for share in draw.random(count)],
        }
    )
    frame.loc[draw.random(count) < 0.1, "p50_ms"] = math.nan
    return frame


def undominated(gains: np.ndarray) -> np.ndarray:
    """bool [N] for gains[N, 2], by comparing every pair."""
    at_least = (gains[:, None] >= gains[None]).all(axis=2)
    beyond = (gains[:, None] > gains[None]).any(axis=2)
    return ~(at_least & beyond).any(axis=0)


@pytest.mark.parametrize("pair", [("accuracy", "p50"), ("size", "p50"), ("energy", "accuracy"), ("p50", "p50")])
@pytest.mark.parametrize("seed", range(5))
def test_the_front_of_any_two_measures_is_what_pairwise_comparison_leaves(pair: tuple[str, str], seed: int) -> None:
    frame = random_table(seed, 60)
    columns = frame[[MEASURES[key].column for key in pair]].astype(float)
    measured = columns.dropna()
    signs = [1 if MEASURES[key].better == "more" else -1 for key in pair]
    expected = measured.index[undominated(measured.to_numpy() * signs)]
    kept = front(frame, *pair)
    assert list(frame.index[kept]) == list(expected)
    assert list(unmeasured(frame, *pair)) == list(columns.isna().any(axis=1))
    assert unmeasured(frame, "energy", "p50").any()


def test_the_front_keeps_equals_and_the_tables_own_index() -> None:
    frame = pd.DataFrame({"accuracy": [0.9, 0.9, 0.8], "p50_ms": [1.0, 1.0, 1.0]}, index=[7, 3, 5])
    assert front(frame, "accuracy", "p50").to_dict() == {7: True, 3: True, 5: False}
    assert front(frame.head(0), "accuracy", "p50").empty
    assert not front(frame, "accuracy", "energy").any()


@pytest.mark.parametrize(
    ("key", "value", "than", "words"),
    [
        ("accuracy", 0.927, 0.93, "-0.30 points"),
        ("p50", 1.0, 2.1, "2.10x faster"),
        ("p50", 1.3, 1.0, "1.30x slower"),
        ("p50", 1.0, 1.02, "no measurable difference"),
        ("size", 1.0, 1.002, "0.2 % smaller"),
        ("throughput", 30, 10, "3.00x faster"),
        ("p50", 1.0, 9.996, "10.0x faster"),
        ("p50", 123.75, 1.0, "124x slower"),
        ("size", 10, 40, "4.00x smaller"),
        ("memory", 40, 10, "4.00x more memory"),
        ("size", 10, 10, "no change"),
        ("energy", math.nan, 1, "not measured"),
    ],
)
def test_gains_have_words(key: str, value: float, than: float, words: str) -> None:
    assert MEASURES[key].in_words(MEASURES[key].gain(value, than)) == words
