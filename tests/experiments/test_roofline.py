from __future__ import annotations

import numpy as np
import pytest

from core.layers import Layer, LayerProfile
from experiments.peaks import Peaks
from experiments.profile_words import above, bounds, unshown
from experiments.roofline import Bound, Placed, peak_of, placed, placed_in, time_by_bound
from profiling.latency import Latency
from tests.experiments.profiled import (
    KIB,
    LAYERS,
    MACS,
    PEAKS,
    latency,
    layer,
    layer_profile,
    other,
    profile_result,
)


def bound(found: Layer, peaks: Peaks = PEAKS) -> Placed:
    return placed(layer_profile([found]), peaks)[0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (layer("a", 0.02), "compute"),  # a million at 100 million per ms: 0.01 ms, exactly half
        (layer("a", 0.0201), "overhead"),
        (layer("a", 0.02, macs=100, weight_bytes=980 * KIB), "memory"),  # a MiB: 0.0135 ms
        (layer("a", 0.02, macs=0), "unknown"),  # the engine does not say how much it multiplies
        (layer("a", 0.02, precision="fp8"), "unknown"),  # no peak was probed
        (layer("a", 0.02, macs=0, weight_bytes=1000 * KIB), "memory"),  # that alone explains it
        (other("a", 0.02, "Add"), "overhead"),
        (other("a", 0.02, "Add", input_bytes=0, output_bytes=0, output_shape=None), "unknown"),  # nothing is told
        (other("a", 0.02, "view", input_bytes=0, output_bytes=0), "overhead"),  # nothing moves
        (other("a", 0.0, "view", input_bytes=0, output_bytes=0), "unknown"),  # shorter than the clock shows
        (layer("a", 0.0), "unknown"),
        (layer("a", 0.1, weight_bytes=0, input_bytes=0, output_bytes=0, output_shape=None), "unknown"),
        (layer("a", 0.015, weight_bytes=0, input_bytes=0, output_bytes=0, output_shape=None), "compute"),
        (other("a", 0.0004, "Add"), "memory"),  # 20 KiB at 100 MB per ms: 0.0002 ms
    ],
)
def test_the_bound_is_what_explains_half_of_the_time(found: Layer, expected: Bound) -> None:
    assert bound(found).bound == expected


def test_least_times_are_work_over_rate() -> None:
    found = bound(layer("a", 0.05, macs=3 * MACS, weight_bytes=4076 * KIB))
    moved = 4 * 2**20
    rate = 100e9 + np.log2(moved / (256 * KIB)) / 8 * (10e9 - 100e9)  # 4 MiB is half of the way from 256 KiB to 64 MiB
    assert found.arithmetic_ms == pytest.approx(3e6 / 100e9 * 1000)
    assert found.bytes_ms == pytest.approx(1000 * moved / rate)
    assert found.intensity == pytest.approx(3e6 / moved)
    assert found.macs_per_s == pytest.approx(60e9)
    assert found.attained == pytest.approx(found.bytes_ms / 0.05)


def test_weights_in_few_bits_and_tf32_are_set_against_the_peak_they_are_multiplied_at() -> None:
    assert peak_of(PEAKS, "w4") == peak_of(PEAKS, "tf32") == 100e9
    assert peak_of(PEAKS, "int8") is None


def test_fp32_and_tf32_are_each_set_against_their_own_rate() -> None:
    both = PEAKS.model_copy(update={"macs_per_s": {"fp32": 10e9, "tf32": 100e9, "fp16": 200e9}})
    linear, convolution = layer("fc", 0.12), layer("conv", 0.012, precision="tf32")
    assert [bound(each, both).bound for each in (linear, convolution)] == ["compute", "compute"]
    assert (peak_of(both, "fp32"), peak_of(both, "tf32"), peak_of(both, "w8")) == (10e9, 100e9, 10e9)
    # A million at 10 and 3 million at 100 per second: 0.13 ms for 4 million.
    mixed = [layer("fc", 1), layer("conv", 1, precision="tf32", macs=3 * MACS)]
    assert peak_of(both, "fp32", mixed) == pytest.approx(4e6 / 0.13e-3)
    assert peak_of(both, "fp32", [convolution]) == pytest.approx(100e9)
    assert peak_of(both, "fp32", [linear]) == pytest.approx(10e9)
    assert peak_of(both, "fp16", mixed) == 200e9


def test_a_bound_that_rounding_could_change_is_not_told() -> None:
    coarse = LayerProfile(batch_size=1, calls=9, call_ms=1, layers=(layer("a", 0.0195),), resolution_ms=0.001)
    fine = coarse.model_copy(update={"resolution_ms": 0.0004})
    assert [placed(each, PEAKS)[0].bound for each in (coarse, fine)] == ["unknown", "compute"]


def test_a_bound_that_the_difference_between_fast_and_typical_calls_could_change_is_not_told() -> None:
    layers = [layer("near", 0.021), layer("far", 0.05), layer("compute", 0.015)]
    typical = profile_result(layers=layer_profile(layers, beyond_ms=0.464), latency=latency(0.55))
    assert [each.bound for each in placed_in(typical)] == ["overhead", "overhead", "compute"]
    slowed = Latency(
        batch_size=1, blocks_ms=((0.44, *[0.55] * 9),) * 20, warmup_ms=300, first_call_ms=1, contended_share=0.3
    )  # the fastest calls take 0.8 of a typical one
    busy = typical.model_copy(update={"latency": slowed})
    assert [each.bound for each in placed_in(busy)] == ["unknown", "overhead", "compute"]
    assert placed_in(typical.model_copy(update={"peaks": None})) == ()


def test_the_bounds_share_the_time_of_all_layers() -> None:
    found = placed(layer_profile(), PEAKS)
    times = time_by_bound(found)
    assert times == {"compute": pytest.approx(0.315), "overhead": pytest.approx(0.185)}
    assert sum(times.values()) == pytest.approx(sum(each.time_ms for each in LAYERS))
    assert bounds(found) == (
        "Of the layers' time, 63 % is in compute-bound layers and 37 % in layers bound by overhead."
    )
    assert "37 % in layers bound by overhead. Other work on this machine took processor time" in bounds(
        found, is_contended=True
    )


def test_what_is_above_the_ceiling_or_below_the_clock_is_told() -> None:
    near = placed(layer_profile([layer("a", 0.0095), layer("b", 0.02)]), PEAKS)
    assert above(near) == "One layer is above the ceiling, by up to 5 %. That is within what timer and probe can tell."
    assert "2 layers are above the ceiling, by up to 100 %. The ceiling is" in above(
        placed(layer_profile([layer("a", 0.005), layer("b", 0.009)]), PEAKS)
    )
    assert above(placed(layer_profile(), PEAKS)) == ""
    short = placed(layer_profile([layer("a", 0.0), layer("b", 0.1, macs=0), layer("c", 0.1)]), PEAKS)
    assert unshown(short) == (
        "Without a dot: one layer is shorter than the engine's clock shows and of one layer the engine does not say "
        "how much it multiplies or moves."
    )
