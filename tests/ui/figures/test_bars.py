"""Comparisons as figures: what is drawn is what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ui.figures import GREY, bars, panels, remark, shorten
from ui.figures.frame import LONGEST_TITLE, brief_titles

MIB = 2**20


def variants(**columns: list[Any]) -> pd.DataFrame:
    """Three variants as `experiments.compare.variants` gives them."""
    values: dict[str, list[Any]] = {
        "run_id": ["r1", "r2", "r3"],
        "digest": ["d1", "d2", "d3"],
        "title": ["FP32 · PyTorch", "INT8 · ONNX Runtime", "Pruned <b>50 %</b> & more"],
        "runtime": ["pytorch", "onnxruntime", "onnxruntime"],
        "accuracy": [0.930, 0.925, 0.901],
        "accuracy_low": [0.925, 0.919, 0.895],
        "accuracy_high": [0.935, 0.930, 0.907],
        "p50_ms": [2.0, 0.5, 1.0],
        "p50_low_ms": [1.9, 0.49, 0.9],
        "p50_high_ms": [2.1, 0.51, 1.1],
        "p95_ms": [2.5, np.nan, 1.2],
        "throughput_per_s": [500.0, 2000.0, 1000.0],
        "best_throughput_per_s": [500.0, 2000.0, 1000.0],
        "size_bytes": [8 * MIB, 2 * MIB, 3 * MIB],
        "gzip_bytes": [7 * MIB, 2 * MIB, 1 * MIB],
        "memory_bytes": [80 * MIB, 20 * MIB, 30 * MIB],
        "macs": [80e6, 80e6, 20e6],
    }
    return pd.DataFrame(values | columns)


COLOURS = {"d1": GREY, "d2": "#1D62D3", "d3": "#D97706"}
PANELS = {panel.column: panel for panel in panels(variants())}


def words_in(figure: Any) -> list[str]:
    """What is written into a figure."""
    return [annotation.text for annotation in figure.layout.annotations]


@pytest.mark.parametrize("column", PANELS)
def test_a_bar_ends_where_the_value_is_in_the_panel_s_unit(column: str) -> None:
    panel, frame = PANELS[column], variants()
    figure = bars(frame, panel, COLOURS, ink="#000000")
    bar = next(trace for trace in figure.data if trace.customdata is not None)
    assert np.array(bar.x) + bar.base == pytest.approx(frame[column].to_numpy(float) * panel.scale)
    assert list(bar.marker.color) == [GREY, "#1D62D3", "#D97706"]
    assert list(bar.y) == sorted(bar.y, reverse=True)
    low, high = figure.layout.xaxis.range
    assert low <= min(bar.base, low)
    assert high >= max(np.array(bar.x) + bar.base)


def test_what_compression_leaves_is_the_full_part_of_the_bar_of_a_file() -> None:
    whole, compressed = bars(variants(), PANELS["size_bytes"], COLOURS, ink="#000000").data
    assert list(compressed.x) == [7, 2, 1]
    assert list(whole.x) == [8, 2, 3]
    assert whole.marker.opacity < compressed.marker.opacity
    assert "<b>3.00</b> / 1.00" in words_in(bars(variants(), PANELS["size_bytes"], COLOURS, ink="#000000"))


def test_bars_of_other_models_are_hatched() -> None:
    frame = variants(is_beside=[False, False, True])
    first = next(trace for trace in bars(frame, PANELS["macs"], COLOURS, ink="#000000").data)
    assert list(first.marker.pattern.shape) == ["", "", "/"]


def test_sizes_and_memory_choose_a_unit_that_fits() -> None:
    assert (PANELS["size_bytes"].unit, PANELS["size_bytes"].show(8 * MIB)) == ("MiB", "8.00")
    small = variants(size_bytes=[9000, 5000, 1024], memory_bytes=[3 * 2**30, 2**30, 2**20])
    units = {panel.column: panel.unit for panel in panels(small)}
    assert (units["size_bytes"], units["memory_bytes"]) == ("KiB", "GiB")


def test_an_axis_that_does_not_begin_at_zero_says_where_it_begins() -> None:
    frame, panel = variants(), PANELS["accuracy"]
    begin, end = bars(frame, panel, COLOURS, ink="#000000").layout.xaxis.range
    assert 0 < begin < 89.5
    assert 93.5 < end <= 100
    assert f"axis begins at {begin:g} %" in remark(frame, panel)
    assert "begins" not in remark(frame, PANELS["p50_ms"])


def test_the_accuracy_axis_never_leaves_0_to_100() -> None:
    extreme = variants(accuracy=[1.0, 0.02, 0.0], accuracy_low=[0.99, 0.01, 0.0], accuracy_high=[1.0, 0.05, 0.01])
    begin, end = bars(extreme, PANELS["accuracy"], COLOURS, ink="#000000").layout.xaxis.range
    assert (begin, end) == (0, 100)


@pytest.mark.parametrize("column", ["accuracy", "p50_ms"])
def test_whiskers_span_the_measured_interval(column: str) -> None:
    panel, frame = PANELS[column], variants()
    marks = bars(frame, panel, COLOURS, ink="#000000").data[-1]
    x = np.array(marks.x)
    assert x - marks.error_x.arrayminus == pytest.approx(frame[panel.low].to_numpy() * panel.scale)
    assert x + marks.error_x.array == pytest.approx(frame[panel.high].to_numpy() * panel.scale)


def test_a_percentile_of_too_few_calls_is_called_so() -> None:
    written = words_in(bars(variants(), PANELS["p50_ms"], COLOURS, ink="#000000"))
    assert "<b>0.500</b> / n too small" in written
    assert "<b>2.000</b> / 2.500" in written


def test_titles_cannot_bring_html_in() -> None:
    written = words_in(bars(variants(), PANELS["size_bytes"], COLOURS, ink="#000000"))
    assert "Pruned &lt;b>50 %&lt;/b> &amp; more" in written


def test_long_titles_keep_their_beginning_and_their_runtime() -> None:
    title = "Distilled to 19k CNN + Pruned 50 % + INT8 · ONNX Runtime"
    short = shorten(title)
    assert len(short) <= LONGEST_TITLE
    assert short.startswith("Distilled to 19k")
    assert short.endswith("NX Runtime")
    assert shorten("INT8") == "INT8"


def test_the_runtime_is_left_out_where_it_is_the_same_for_all() -> None:
    titles = ["FP32 · LiteRT", "Fine-tuned · LiteRT (control)", "INT8 · LiteRT · Mine"]
    frame = variants(title=titles, runtime=["litert"] * 3)
    assert list(brief_titles(frame)) == ["FP32", "Fine-tuned (control)", "INT8 · Mine"]
    assert list(brief_titles(variants())) == list(variants().title)
    assert "INT8 · Mine" in words_in(bars(frame, PANELS["macs"], COLOURS, ink="#000000"))


def test_latencies_far_apart_are_discs_on_a_logarithmic_axis() -> None:
    times = [0.0072, 0.0153, 4.6]
    frame = variants(p50_ms=times, p50_low_ms=times, p50_high_ms=times, p95_ms=[0.008, np.nan, 4.67])
    panel = next(each for each in panels(frame) if each.column == "p50_ms")
    figure = bars(frame, panel, COLOURS, ink="#000000")
    axis, (p95, p50, _) = figure.layout.xaxis, figure.data
    begin, end = (10**each for each in axis.range)
    assert axis.type == "log"
    assert begin == pytest.approx(0.002)
    assert end > 4.67
    assert list(axis.tickvals) == pytest.approx([0.01, 0.1, 1])
    assert (p50.type, p50.mode) == ("scatter", "markers")
    assert list(p50.x) == pytest.approx(times)
    assert np.array(p95.x)[[0, 2]] == pytest.approx([0.008, 4.67])
    assert p95.marker.opacity < p50.marker.opacity
    assert remark(frame, panel) == "ms, lower is better, solid: p50, logarithmic axis"
    assert remark(frame, PANELS["size_bytes"]) == "MiB, lower is better, solid: compressed"


def test_a_short_logarithmic_axis_names_more_than_powers_of_ten() -> None:
    times = [0.3, 1.0, 10.0]
    frame = variants(p50_ms=times, p50_low_ms=times, p50_high_ms=times, p95_ms=times, is_beside=[False, False, True])
    figure = bars(frame, PANELS["p50_ms"], COLOURS, ink="#000000")
    assert list(figure.layout.xaxis.tickvals) == pytest.approx([0.1, 0.2, 0.5, 1, 2, 5, 10])
    assert list(figure.data[1].marker.symbol) == ["circle", "circle", "diamond"]


@pytest.mark.parametrize("column", ["p50_ms", "size_bytes", "throughput_per_s", "macs"])
def test_other_axes_stay_linear(column: str) -> None:
    """Latencies that are not far apart, and measures whose bars mean a share of the longest one."""
    panel = next(each for each in panels(variants(macs=[1e9, 1e6, 1e5])) if each.column in (column, f"best_{column}"))
    assert bars(variants(macs=[1e9, 1e6, 1e5]), panel, COLOURS, ink="#000000").layout.xaxis.type is None
