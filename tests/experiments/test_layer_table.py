from __future__ import annotations

import pytest

from core.layers import FUSED, LayerProfile
from experiments.layer_table import CSV, filtered, layer_table
from experiments.profile_words import bottleneck, heaviest_share, reconciliation
from tests.experiments.profiled import ANATOMY, LAYERS, latency, layer, layer_profile, other, profile_result


def test_every_layer_has_a_row_and_the_rows_add_up() -> None:
    result = profile_result()
    frame = layer_table(result)
    assert list(frame) == list(CSV)
    assert len(frame) == len(LAYERS)
    assert frame.time_ms.sum() == pytest.approx(result.layers.layers_ms)
    assert frame.share.sum() == pytest.approx(1)
    assert frame.macs.sum() == 26_000_000
    assert frame.parameters.sum() == ANATOMY.parameters
    assert frame.bound.tolist() == ["Compute", "Compute", "Compute", "Overhead", "Overhead"]
    assert frame.macs_per_s[1] == pytest.approx(80e9)
    assert frame.output_shape[0] == "1 × 10 × 16 × 16"


def test_a_module_s_parameters_count_once_and_in_the_layer_that_multiplies() -> None:
    layers = [other("head.0", 0.1, "Cast"), layer(f"head.0{FUSED}head.1", 0.1), layer("head.0", 0.1)]
    frame = layer_table(profile_result(layers=layer_profile(layers)))
    assert frame.parameters.tolist() == [0, 400_000, 0]


def test_an_operation_lies_in_the_module_around_it_and_keeps_its_name() -> None:
    layers = [layer("body.0.conv1", 0.1), other("node_add_25", 0.1, "Add"), layer("body.0.conv2", 0.1)]
    frame = layer_table(profile_result(layers=layer_profile([other("transpose_1", 0.1, "Transpose"), *layers])))
    assert frame.module.tolist() == ["", "body.0.conv1", "body.0", "body.0.conv2"]
    assert frame.name.tolist() == ["transpose_1", "body.0.conv1", "node_add_25", "body.0.conv2"]
    assert filtered(frame, words="add_").module.tolist() == ["body.0"]


def test_what_is_not_known_stays_empty() -> None:
    frame = layer_table(profile_result(peaks=None, anatomy=None))
    assert frame.parameters.isna().all()
    assert frame.attained.isna().all()
    assert set(frame.bound) == {""}


def test_filters_keep_what_fits_all_of_them() -> None:
    frame = layer_table(profile_result())
    assert filtered(frame).equals(frame)
    assert filtered(frame, words=" CONV1 ").name.tolist() == ["body.0.conv1"]
    assert filtered(frame, words="gemm", kinds=["multiplies"]).name.tolist() == ["head.0 + head.1"]
    assert filtered(frame, words="(", bounds=["Overhead"]).empty
    assert len(filtered(frame, bounds=["Overhead"], precisions=["fp32"])) == 2


def test_the_bottleneck_and_the_sum_in_words() -> None:
    result = profile_result()
    assert bottleneck(result) == "64 % of the layers' time is spent in body; 2 of 5 layers take half of it."
    assert heaviest_share(result) == pytest.approx(1)
    assert reconciliation(result) == "0.500 ms in layers + 0.050 ms = 0.550 ms a call."


def coarse(resolution_ms: float, *, beyond_ms: float) -> LayerProfile:
    """As from an engine whose clock has such steps."""
    return layer_profile(beyond_ms=beyond_ms).model_copy(update={"resolution_ms": resolution_ms})


def test_layers_that_miss_the_latency_are_explained() -> None:
    slow = profile_result(latency=latency(1.0), layers=layer_profile(beyond_ms=0.5))
    assert "50 % of a call passes outside of any layer" in bottleneck(slow)
    assert "The layers miss the latency by 50 %. Much of a call is spent around the layers" in reconciliation(slow)
    busy = profile_result(latency=latency(0.4))
    assert "a plain call took 0.550 ms then" in reconciliation(busy)
    quiet_later = profile_result(latency=latency(2.0))
    assert "outside of any layer" not in bottleneck(quiet_later)
    assert "The machine was quieter while the layers were profiled" in reconciliation(quiet_later)
    by_two_kinds = profile_result(latency=latency(1.0), layers=coarse(0.02, beyond_ms=0.5))
    assert "Between 40 % and 50 % of a call passes outside of any layer." in bottleneck(by_two_kinds)
    assert "in Python. But up to 0.100 ms of that may be rounding" in reconciliation(by_two_kinds)
    rounded = profile_result(latency=latency(1.0), layers=coarse(0.09, beyond_ms=0.5))
    assert "outside of any layer" not in bottleneck(rounded)
    assert "around the layers" not in reconciliation(rounded)
    assert reconciliation(rounded).endswith(
        "Up to 0.450 ms of that may be rounding, since the engine rounds the time of each of 5 layers down to a "
        "multiple of 90 µs."
    )
    overlapping = profile_result(latency=latency(0.4), layers=layer_profile(beyond_ms=-0.1))
    assert "0.500 ms in layers − 0.100 ms = 0.400 ms a call" in reconciliation(overlapping)
    assert "Layers overlap, or the profiler slowed them down" in reconciliation(overlapping)
    disturbed = latency(1.0).model_copy(update={"contended_share": 0.6})
    busy_machine = profile_result(latency=disturbed, layers=layer_profile(beyond_ms=0.5))
    assert "outside of any layer" not in bottleneck(busy_machine)
    assert reconciliation(busy_machine).endswith("Profile again on a quiet machine.")


def test_the_sum_is_right_to_the_digits_that_are_shown() -> None:
    result = profile_result(latency=latency(0.6454), layers=layer_profile([layer("a", 0.7026)], beyond_ms=0))
    assert reconciliation(result).startswith("0.703 ms in layers − 0.058 ms = 0.645 ms a call.")
