"""Live curves as ECharts options."""

from __future__ import annotations

from typing import Any

import pytest

from ui.curves import CURVES, Band, Curve
from ui.live_chart import GREY, option

COLOURS = ("#111111", "#222222")


def lines(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The series that draw a line."""
    return [series for series in spec["series"] if "lineStyle" in series]


def areas(spec: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The shaded bands."""
    return [area for series in spec["series"] for area in series.get("markArea", {"data": []})["data"]]


def test_each_curve_draws_its_own_points_in_the_colour_of_its_series() -> None:
    curves = [Curve("train", [(1, 50.0)]), Curve("validation", [(2, 40.0)]), Curve("train", [(5, 60.0)])]
    spec = option(CURVES["accuracy"], curves, seconds=6, colours=COLOURS, live=True)
    drawn = [
        (line["name"], line["lineStyle"]["color"], spec["dataset"][line["datasetIndex"]]["source"].value.tolist())
        for line in lines(spec)
    ]
    assert drawn == [("train", "#111111", [50.0]), ("validation", "#222222", [40.0]), ("train", "#111111", [60.0])]
    assert spec["legend"]["data"] == ["train", "validation"]
    assert spec["graphic"] == []


def test_a_single_series_needs_no_legend_and_an_empty_chart_says_so() -> None:
    assert not option(CURVES["loss"], [Curve("", [(1, 1.0)])], seconds=1, colours=COLOURS, live=True)["legend"]["show"]
    words = [option(CURVES["loss"], [], seconds=1, colours=COLOURS, live=live)["graphic"] for live in (True, False)]
    assert words[0] != words[1]
    assert all(each[0]["style"]["text"] for each in words)


@pytest.mark.parametrize(("seconds", "end"), [(0, 5), (5, 5), (5.1, 10), (29, 30), (31, 60), (60, 60), (61, 120)])
def test_the_time_axis_ends_after_the_last_point_and_moves_seldom(seconds: float, end: float) -> None:
    assert option(CURVES["loss"], [], seconds=seconds, colours=COLOURS, live=True)["xAxis"]["max"] == end


@pytest.mark.parametrize(("took", "end"), [(75.53, 76), (1.23, 1.3), (0, 0.1), (3600, 3600)])
def test_the_time_axis_of_an_ended_run_ends_with_it(took: float, end: float) -> None:
    assert option(CURVES["loss"], [], seconds=took, colours=COLOURS, live=False, end=took)["xAxis"]["max"] == end


@pytest.mark.parametrize(
    ("values", "most"),
    [((93.0,), 100), ((93.0, 93.0), 100), ((100.0,), 100), ((10.0, 92.0), 100), ((93.0, 94.0), None)],
)
def test_no_accuracy_axis_goes_beyond_100_nor_is_forced_to_0(values: tuple[float, ...], most: float | None) -> None:
    curve = Curve("", list(enumerate(values)))
    axis = option(CURVES["accuracy"], [curve], seconds=6, colours=COLOURS, live=True)["yAxis"]
    assert (axis["scale"], axis["max"]) == (True, most)


def test_the_time_axis_of_a_brief_phase_spans_that_phase() -> None:
    curve = Curve("", [(103.4, 1.0), (107.2, 2.0)])
    axes = [
        option(CURVES[key], [curve], seconds=110, colours=COLOURS, live=True)["xAxis"] for key in ("latency_ms", "loss")
    ]
    assert [(axis["min"], axis["max"]) for axis in axes] == [(103, 108), (0, 120)]


def test_utilisation_is_drawn_from_0_to_100_and_memory_where_it_moves() -> None:
    axes = {key: option(CURVES[key], [], seconds=1, colours=COLOURS, live=True)["yAxis"] for key in CURVES}
    assert (axes["gpu_utilisation_percent"]["scale"], axes["gpu_utilisation_percent"]["max"]) == (False, 100)
    assert (axes["process_rss_bytes"]["scale"], axes["process_rss_bytes"]["max"]) == (True, None)


def test_fp32_is_grey_beside_another_precision() -> None:
    curves = [Curve("FP32", [(1, 2.0)]), Curve("BF16", [(1, 2.1)])]
    spec = option(CURVES["loss"], curves, seconds=6, colours=COLOURS, live=True)
    assert {line["name"]: line["lineStyle"]["color"] for line in lines(spec)} == {"FP32": GREY, "BF16": "#111111"}


def test_phases_are_shaded_alike_in_every_chart_over_the_whole_run_and_in_no_other() -> None:
    bands = [Band("Load", 0, 1, False), Band("Training", 1, 40, False), Band("Latency", 40, 52, True)]
    drawn = {key: areas(option(CURVES[key], [], seconds=52, colours=COLOURS, live=True, bands=bands)) for key in CURVES}
    whole = [drawn[key] for key, kind in CURVES.items() if not kind.is_brief]
    assert all(each == whole[0] for each in whole)
    assert all(not drawn[key] for key, kind in CURVES.items() if kind.is_brief)
    assert [(start["name"], start["xAxis"], end["xAxis"]) for start, end in whole[0]] == [
        ("Load", 0, 1), ("Training", 1, 40), ("Latency", 40, 52),
    ]  # fmt: skip
    load, training, latency = (start["itemStyle"] for start, _ in whole[0])
    assert load["color"] != training["color"]
    assert latency["borderType"] == "dashed"
    assert "borderType" not in load
    assert [start["label"]["show"] for start, _ in whole[0]] == [False, True, True]


def test_times_of_a_few_microseconds_are_drawn_in_microseconds() -> None:
    quick = Curve("", [(1, 0.5), (2, 0.007), (3, 0.0072)])  # the first block may be slow
    spec = option(CURVES["latency_ms"], [quick], seconds=4, colours=COLOURS, live=False)
    assert spec["dataset"][0]["source"].value.tolist() == pytest.approx([500, 7, 7.2])
    assert spec["yAxis"]["axisLabel"]["formatter"] == "{value} µs"
    slow = option(CURVES["latency_ms"], [Curve("", [(1, 0.47)])], seconds=4, colours=COLOURS, live=False)
    assert slow["dataset"][0]["source"].value.tolist() == [0.47]
    assert slow["tooltip"]["valueFormatter"] == "%.2f ms"


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ((14.7, 14.8), (13, 17)),
        ((0.0147, 0.0148), (13, 17)),
        ((0.47,), (0.42, 0.52)),
        ((1.0, 2.0), (None, None)),
    ],
)
def test_an_axis_of_latency_is_wide_enough_that_noise_looks_like_noise(
    values: tuple[float, ...], ends: tuple[float | None, float | None]
) -> None:
    curve = Curve("", list(enumerate(values)))
    axis = option(CURVES["latency_ms"], [curve], seconds=6, colours=COLOURS, live=True)["yAxis"]
    assert (axis.get("min"), axis["max"]) == ends


def test_the_name_of_a_phase_stands_above_what_is_drawn() -> None:
    spec = option(CURVES["loss"], [], seconds=50, colours=COLOURS, live=True, bands=[Band("Training", 0, 40, False)])
    assert [start["label"]["position"] for start, _ in areas(spec)] == ["top"]
