from __future__ import annotations

import pandas as pd
import pytest

from experiments.compare import against_baseline, describe, latency_verdict, variants
from experiments.measures import NO_DIFFERENCE
from experiments.recipe import Recipe
from experiments.store import Store
from tests.experiments.synthetic import finish_with

BASELINE = Recipe(model="resnet_fmnist")
VARIANT = Recipe(model="resnet_fmnist", runtime="onnxruntime")


def compared(store: Store) -> pd.DataFrame:
    """All finished runs against the baseline."""
    records = store.runs()
    return against_baseline(variants(records), store.results([record.id for record in records]))


@pytest.mark.parametrize(
    ("speedup", "low", "high", "verdict"),
    [
        (2.0, 1.9, 2.1, "2.00x faster"),
        (0.5, 0.4, 0.6, "2.00x slower"),
        (1 / 27.7, 0.03, 0.04, "27.7x slower"),
        (123.75, 120, 130, "124x faster"),
        (1.5, 0.9, 2.0, NO_DIFFERENCE),
        (1.02, 1.01, 1.03, NO_DIFFERENCE),
        (0.98, 0.97, 0.99, NO_DIFFERENCE),
    ],
)
def test_a_speed_difference_needs_an_interval_without_one_and_a_size(
    speedup: float, low: float, high: float, verdict: str
) -> None:
    assert latency_verdict(speedup, low, high) == verdict


def test_differences_are_to_the_baseline_which_stands_first(store: Store) -> None:
    finish_with(store, VARIANT, wrong=range(120), median_ms=1.0, size_bytes=250)
    finish_with(store, BASELINE, wrong=range(80), median_ms=2.0, size_bytes=1000)
    frame = compared(store)
    assert list(frame.is_baseline) == [True, False]
    row = frame.iloc[1]
    assert row.accuracy_points == pytest.approx(-4.0)
    assert row.accuracy_verdict == "-4.00 points"
    assert row.speedup == pytest.approx(2.0, rel=0.05)
    assert row.latency_verdict.endswith("faster")
    assert row.size_ratio == 0.25
    assert pd.isna(frame.iloc[0].speedup)
    assert "2." in describe(frame)


def test_a_handful_of_flipped_images_is_no_difference(store: Store) -> None:
    finish_with(store, BASELINE, wrong=range(80), median_ms=2.0, size_bytes=1000)
    finish_with(store, VARIANT, wrong=range(2, 84), median_ms=2.0, size_bytes=1000)
    row = compared(store).iloc[1]
    assert row.accuracy_verdict == NO_DIFFERENCE
    assert row.latency_verdict == NO_DIFFERENCE


def test_without_a_baseline_differences_are_empty(store: Store) -> None:
    finish_with(store, VARIANT, wrong=range(80), median_ms=2.0, size_bytes=1000)
    assert compared(store).speedup.isna().all()
    assert "onnx" in describe(compared(store)).lower()


def test_no_runs_make_an_empty_table() -> None:
    assert against_baseline(variants([]), {}).empty


@pytest.mark.parametrize("disturbed", [(0,), (1,), ()])
def test_a_difference_in_speed_of_which_either_was_disturbed_is_doubted(
    disturbed: tuple[int, ...], store: Store
) -> None:
    finish_with(store, BASELINE, wrong=range(80), median_ms=2.0, size_bytes=1000)
    finish_with(store, VARIANT, wrong=range(80), median_ms=1.0, size_bytes=1000)
    records = store.runs()
    frame = variants(records)
    frame["is_disturbed"] = [at in disturbed for at in range(2)]
    found = against_baseline(frame, store.results([record.id for record in records])).iloc[1]
    assert found.latency_verdict.endswith("faster, but the timing was disturbed" if disturbed else "faster")


def test_no_difference_in_speed_needs_no_doubt(store: Store) -> None:
    finish_with(store, BASELINE, wrong=range(80), median_ms=2.0, size_bytes=1000)
    finish_with(store, VARIANT, wrong=range(80), median_ms=2.0, size_bytes=1000)
    records = store.runs()
    frame = variants(records).assign(is_disturbed=True)
    found = against_baseline(frame, store.results([record.id for record in records]))
    assert found.iloc[1].latency_verdict == NO_DIFFERENCE
