"""A measure as an axis."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.measures import MEASURES
from tests.ui.figures.test_bars import variants
from ui.figures.axes import Axis, measured, number, with_unit


def test_numbers_keep_the_digits_that_tell_variants_apart() -> None:
    shown = [number(value) for value in (0.18071, 2.9935, 93.74, 280.79, 5533.98, -0.01)]
    assert shown == ["0.181", "2.99", "93.74", "280.8", "5,534", "-0.010"]
    assert with_unit(MEASURES["size"], 3 * 2**20) == "3.00 MiB"
    assert with_unit(MEASURES["energy"], math.nan) == "not measured"


def test_only_measures_that_some_variant_has_are_offered() -> None:
    assert measured(variants()) == ["accuracy", "p50", "p95", "throughput", "size", "gzip", "memory"]
    assert "energy" in measured(variants(joules=[None, 0.2, None]))


def test_only_ratios_far_apart_get_a_logarithmic_axis_and_it_says_so() -> None:
    assert not Axis.of(variants(), "p50").is_log
    wide = Axis.of(variants(p50_ms=[50.0, 0.5, 1.0]), "p50")
    assert wide.is_log
    assert "logarithmic" in wide.title
    assert {0.5, 1, 2, 5, 10, 20, 50} <= set(np.round(wide.layout()["tickvals"], 6))
    assert not Axis.of(variants(accuracy=[0.9, 0.1, 0.01]), "accuracy").is_log
    assert not Axis.of(variants(memory_bytes=[0, 2**20, 2**30]), "memory").is_log


@pytest.mark.parametrize("key", ["accuracy", "p50", "p95", "size", "throughput"])
@pytest.mark.parametrize("factor", [1.0, 40.0])
def test_everything_lies_within_the_axis(key: str, factor: float) -> None:
    frame = variants(p50_ms=[2.0, 0.5, factor], p50_high_ms=[2.1, 0.51, 1.1 * factor], batch_size=[1, 1, 1])
    axis = Axis.of(frame, key, limit=frame[MEASURES[key].column].max() * 1.5)
    low, high = axis.range
    drawn = [*axis.values, *axis.low, *axis.high, axis.limit]
    assert all(low < axis.coordinate(value) < high for value in drawn if not math.isnan(value))
    places = [axis.place(value) for value in sorted(axis.values.dropna())]
    assert places == sorted(places)
    assert axis.place(axis.worst) == pytest.approx(0 if MEASURES[key].better == "more" else 1)


def test_a_measure_without_intervals_has_none() -> None:
    assert Axis.of(variants(), "p50").has_interval
    assert not Axis.of(variants(), "size").has_interval


def test_variants_that_are_all_alike_still_have_an_axis() -> None:
    for frame in (variants(size_bytes=[2**20] * 3), variants(size_bytes=[0] * 3)):
        low, high = Axis.of(frame, "size").range
        assert low < Axis.of(frame, "size").values[0] < high
