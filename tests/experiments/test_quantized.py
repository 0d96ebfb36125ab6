"""What a report says in words and figures."""

from __future__ import annotations

import numpy as np
import pytest

from core.quantization import GridSummary, Histogram, Range
from experiments.quantized import (
    clipped_share,
    error_share,
    headline,
    layer_table,
    steepest_fall,
    usual_db,
    worst_layer,
)
from tests.experiments.quantization_reports import grid_of, histogram_of, layer_of, long_report, report_of


def test_the_layer_where_the_output_falls_most_is_found_and_the_fall_lasts() -> None:
    fall = steepest_fall([layer_of("a", 40), layer_of("b", 38), layer_of("c", 22), layer_of("d", 20)])
    assert fall
    assert (fall.layer.name, fall.before_db, fall.after_db, fall.is_first, fall.lasts) == ("c", 38, 22, False, True)
    assert fall.db == 16


def test_a_fall_that_is_won_back_does_not_last() -> None:
    fall = steepest_fall([layer_of("a", 40), layer_of("branch", 20), layer_of("sum", 36)])
    assert fall
    assert (fall.layer.name, fall.lasts) == ("branch", False)


def test_the_first_error_falls_from_what_its_bits_usually_leave() -> None:
    fall = steepest_fall([layer_of("stem", 120, bits=32), layer_of("bad", 20), layer_of("next", 15)])
    assert fall
    assert (fall.layer.name, fall.is_first) == ("bad", True)
    assert fall.before_db == pytest.approx(40.9, abs=0.05)


def test_a_network_that_never_falls_names_no_layer_and_the_most_sensitive_is_looked_at_first() -> None:
    layers = [layer_of("a", 120), layer_of("b", None, sensitivity=0.5), layer_of("c", 120, sensitivity=0.1)]
    assert steepest_fall(layers) is None
    assert worst_layer(layers).name == "b"


def test_what_bits_usually_leave_is_what_rounding_normal_values_leaves() -> None:
    values = np.random.default_rng(0).normal(0, 1, 400_000).clip(-4, 4)
    for bits in (6, 8):
        step = 8 / 2**bits
        error = values - (np.floor(values / step) + 0.5) * step
        measured = 10 * np.log10(np.mean(values**2) / np.mean(error**2))
        assert usual_db(bits) == pytest.approx(measured, abs=0.2)


def test_decibels_are_shares_of_power() -> None:
    assert [error_share(db) for db in (0, 10, 20)] == pytest.approx([1, 0.1, 0.01])


def test_clipped_is_what_lies_more_than_half_a_step_beyond_the_grid() -> None:
    values = np.random.default_rng(1).normal(0, 1, 200_000)
    grid = grid_of(Range(low=-1.5, high=1.5), 8)
    beyond = np.mean(np.abs(values) > 1.5 + grid.scales[0] / 2)
    assert clipped_share(histogram_of(values, bins=2000), grid) == pytest.approx(beyond, rel=0.01)


def test_a_grid_over_all_that_was_seen_clips_nothing() -> None:
    values = histogram_of(np.random.default_rng(2).exponential(1, 10_000))
    top = values.range.high
    covers = Range(low=0.0, high=top * (1 - 1e-9))
    grid = GridSummary(bits=8, low=0, high=255, scales=(top / 255,), zero_point=0, covers=covers)
    assert clipped_share(values, grid) == 0


@pytest.mark.parametrize(("value", "share"), [(0.0, 0.0), (5.0, 1.0)])
def test_a_tensor_of_one_value_is_clipped_or_not(value: float, share: float) -> None:
    values = Histogram(range=Range(low=value, high=value), counts=(0, 10, 0))
    assert clipped_share(values, grid_of(Range(low=-1, high=1), 8)) == share


def test_the_headline_counts_names_and_gives_the_reason() -> None:
    head = layer_of("head", 40, bits=32, why_float="It is the last one.")
    assert headline(report_of(layer_of("a", 40), layer_of("b", 40), head)) == (
        "2 of 3 layers in INT8 by NNCF. Left in float: head (it is the last one)."
    )
    assert headline(report_of(layer_of("a", 40))) == "1 of 1 layers in INT8 by NNCF."


def test_the_headline_tells_mixed_widths_apart_and_many_floats_short() -> None:
    floats = [layer_of(f"f{number}", 40, bits=32, why_float="Kept.") for number in range(9)]
    words = headline(report_of(layer_of("a", 40), layer_of("b", 20, bits=4), *floats))
    assert words.startswith("1 of 11 layers in INT8 and 1 of 11 layers in INT4 by NNCF")
    assert "f0, f1, f2, f3 and 5 more (kept)" in words
    assert "FP8" in headline(report_of(layer_of("a", 40)), "fp8")


def test_the_table_has_every_layer_in_order_with_what_is_missing_left_out() -> None:
    report = long_report(9)
    table = layer_table(report)
    assert table.name.tolist() == [layer.name for layer in report.layers]
    assert table.place.tolist() == list(range(1, 10))
    assert table.number_format.tolist().count("float") == 1
    assert table.weight_snr_db.isna().sum() == 1
    assert layer_table(report_of(layer_of("exact", 120))).output_snr_db.isna().all()
