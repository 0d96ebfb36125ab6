from __future__ import annotations

import numpy as np
import pytest

from core.layers import Layer
from experiments.peaks import Peaks
from experiments.profile_words import above, bounds, unshown
from experiments.roofline import Bound, Placed, peak_of, placed, time_by_bound
from tests.experiments.profiled import KIB, LAYERS, MACS, PEAKS, layer, layer_profile, other


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
    assert peak_of(PEAKS.model_copy(update={"macs_per_s": {"fp32": 1.0, "tf32": 8.0}}), "tf32") == 8


def test_the_bounds_share_the_time_of_all_layers() -> None:
    found = placed(layer_profile(), PEAKS)
    times = time_by_bound(found)
    assert times == {"compute": pytest.approx(0.315), "overhead": pytest.approx(0.185)}
    assert sum(times.values()) == pytest.approx(sum(each.time_ms for each in LAYERS))
    assert bounds(found) == (
        "Of the layers' time, 63 % is in compute-bound layers and 37 % in layers bound by overhead."
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
