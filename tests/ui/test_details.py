"""Everything a run measured, as tables."""

from __future__ import annotations

from experiments.recipe import Recipe
from tests.pages.left_behind import measured
from ui.details import memory, percentiles

RESULT = measured(Recipe(model="resnet_fmnist"), wrong=10, p50_ms=1.0, size_bytes=1000)


def test_a_percentile_without_enough_calls_says_so() -> None:
    table = percentiles(RESULT).set_index("")
    assert table.Time["p50"].endswith(" ms")
    assert table["95 % interval"]["p50"].endswith(" ms")
    assert table.Time["p99"] == "n too small"
    assert "Build: opening the file" in table.index


def test_a_time_and_its_interval_share_a_unit() -> None:
    table = percentiles(measured(Recipe(model="resnet_fmnist"), wrong=10, p50_ms=0.0072, size_bytes=1000)).set_index("")
    assert table.Time["p50"] == "7.2 µs"
    low, high = table["95 % interval"]["p50"].removesuffix(" µs").split(" to ")
    assert 7 < float(low) <= 7.2 <= float(high) < 7.4


def test_every_memory_figure_is_labelled_and_a_missing_one_has_its_reason() -> None:
    table = memory(RESULT).set_index("Figure")
    assert table.Size["Peak allocated by PyTorch"] == "n/a"
    assert table["What it counts"]["Peak allocated by PyTorch"] == "No GPU took part"
    assert table.Size["Growth of the process"].endswith("KiB")
