"""A quantized network as figures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.quantization import GridSummary, Range
from experiments.quantized import steepest_fall
from tests.experiments.quantization_reports import grid_of, histogram_of, layer_of, long_report, path_over
from ui.figures.frame import GREY
from ui.figures.grids import FEW_VALUES, MOST_LINES, histogram, scales_of, thinned, values_of
from ui.figures.quantization import (
    LONGEST_NAME,
    MOST_BARS,
    MOST_LABELS,
    divergence,
    plain,
    ranges,
    sensitivity,
    short_names,
)
from ui.figures.quantization_path import path_figure
from ui.figures.waterfall import LOSS

LOOK = {"colour": "#123456", "ink": "#111111"}


def test_the_output_is_a_line_along_the_layers_with_floats_hollow_on_grey() -> None:
    layers = [layer_of("a", 40), layer_of("b", 39, bits=32), layer_of("c", 20)]
    figure = divergence(layers, steepest_fall(layers), **LOOK)
    output = figure.data[-2]
    assert list(output.y) == [40, 39, 20]
    assert list(output.marker.symbol) == ["circle", "circle-open", "circle"]
    grounds = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [(each.x0, each.x1, each.fillcolor) for each in grounds] == [(0.5, 1.5, GREY)]
    fall = next(note for note in figure.layout.annotations if "dB" in note.text)
    assert (fall.x, fall.y, fall.text) == (2, 20, "<b>−19.0 dB</b>")


def test_what_has_no_error_or_no_value_is_not_drawn() -> None:
    layers = [layer_of("a", 120, input_snr_db=None), layer_of("b", 30, bits=4, input_snr_db=None)]
    figure = divergence(layers, None, **LOOK)
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == [
        "Weights", "Output, all rounded up to here",
    ]  # fmt: skip
    assert list(figure.data[-2].y) == [None, 30]
    assert figure.data[-2].marker.symbol[1] == "diamond"


def test_levels_teach_what_decibels_mean_where_they_are_in_sight() -> None:
    low = divergence([layer_of("a", 15, weight_snr_db=16, input_snr_db=17)], None, **LOOK)
    assert [note.text for note in low.layout.annotations] == ["1 % error"]
    high = divergence([layer_of("a", 45)], None, **LOOK)
    assert [note.text for note in high.layout.annotations] == ["1 % error", "0.01 % error"]


@pytest.mark.parametrize("count", [1, 16, 50, 200])
def test_many_layers_with_long_names_stay_readable(count: int) -> None:
    layers = long_report(count).layers
    figure = divergence(layers, steepest_fall(layers), **LOOK)
    shown = figure.layout.xaxis.ticktext
    assert 1 <= len(shown) <= MOST_LABELS
    assert max(map(len, shown)) <= LONGEST_NAME
    assert len(set(shown)) == len(shown)


def test_names_lose_what_they_share_and_nothing_that_tells_them_apart() -> None:
    assert short_names(["a", "b"]) == ["a", "b"]
    assert short_names(["features.0", "head"]) == ["features.0", "head"]
    long = ["backbone.stages.0.conv_projection", "backbone.stages.1.conv_projection"]
    assert short_names(long) == ["…0…", "…1…"]
    assert short_names(["backbone.stages.0", "backbone.stages.0.shortcut"])[1] == "…0.shortcut"
    assert len(short_names(["a.very.long.name.of.a.layer.that.stands.alone"])[0]) <= LONGEST_NAME
    assert short_names(["<b>", "&"]) == ["&lt;b>", "&amp;"]


def test_names_in_hover_texts_are_harmless() -> None:
    evil = [layer_of("<img src=x>", 30), layer_of("b", 20)]
    for figure in (divergence(evil, None, **LOOK), ranges(evil, **LOOK), sensitivity(evil, **LOOK)):
        texts = [text for trace in figure.data for text in trace.hovertext or ()]
        assert not any("<img" in text for text in texts)


def test_ranges_show_seen_and_covered_and_colour_what_is_clipped() -> None:
    values = histogram_of(np.linspace(-2, 2, 1000))
    narrow = layer_of("narrow", 30, inputs=values, input_grid=grid_of(Range(low=-1, high=1), 8))
    wide = layer_of("wide", 30, inputs=values, input_grid=grid_of(Range(low=-3, high=3), 8))
    in_float = layer_of("float", 30, bits=32)
    figure = ranges([narrow, in_float, wide], **LOOK)
    seen, covered, clipped = figure.data
    assert (list(seen.base), list(seen.x)) == ([-2, -2], [4, 4])
    assert list(covered.x) == pytest.approx([2, 6])
    assert clipped.marker.color == LOSS
    assert (list(clipped.y), list(clipped.base)) == ([0, 0], pytest.approx([-2, 1]))
    assert [note.text for note in figure.layout.annotations] == ["50 % clipped"]
    assert list(figure.layout.yaxis.ticktext) == ["narrow", "wide"]


def test_sensitivities_are_ranked_and_floats_hollow() -> None:
    layers = [layer_of("a", 30, sensitivity=0.1), layer_of("b", 30, sensitivity=0.9, bits=32), layer_of("c", 30)]
    (bars,) = sensitivity([*layers, layer_of("unknown", 30, sensitivity=None)], **LOOK).data
    assert list(bars.x) == [0.9, 0.1, 0.01]
    assert list(bars.marker.color) == ["rgba(0,0,0,0)", "#123456", "#123456"]
    assert len(sensitivity(long_report(60).layers, **LOOK).data[0].x) == MOST_BARS


@pytest.mark.parametrize(("value", "shown"), [(0.0000754, "0.000075"), (0.012, "0.012"), (3.21, "3.2"), (123, "123")])
def test_small_numbers_are_written_out(value: float, shown: str) -> None:
    assert plain(value) == shown


def test_a_grid_is_scale_times_stored_minus_zero_point() -> None:
    grid = GridSummary(
        bits=4, low=0, high=15, scales=(0.5,), zero_point=4, covers=Range(low=-2, high=5.5)
    )  # fmt: skip
    assert values_of(grid, 0.5) == pytest.approx(0.5 * (np.arange(16) - 4))


def test_floating_point_grids_are_those_of_the_formats() -> None:
    import torch

    e4m3 = GridSummary(bits=8, low=-448, high=448, scales=(1.0,), zero_point=0, covers=Range(low=-448, high=448))
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    assert values_of(e4m3, 1.0) == sorted(set(every[~every.isnan()].tolist()))
    e2m1 = GridSummary(bits=4, low=-6, high=6, scales=(1.0,), zero_point=0, covers=Range(low=-6, high=6))
    assert values_of(e2m1, 1.0) == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_rulers_are_thinned_to_what_can_be_told_apart() -> None:
    values = [float(value) for value in range(-127, 128)]
    kept = thinned(values, -127, 127)
    assert len(kept) <= MOST_LINES + 1
    assert min(after - before for before, after in pairwise(kept)) >= 254 / MOST_LINES * 0.99
    assert thinned(values[:10], -127, 127) == values[:10:3]
    assert thinned([-8.0, 0.0, 8.0], -1, 1) == [0.0]


def test_three_rulers_are_drawn_only_where_they_are_known() -> None:
    reach = Range(low=-1, high=1)
    shared = grid_of(reach, 8, scales=(0.25, 0.5, 1.0))
    assert scales_of(shared) == sorted(shared.scales, reverse=True)
    own_zero_points = shared.model_copy(update={"covers": Range(low=-1, high=1.7)})
    assert scales_of(own_zero_points) == [shared.scales[1]]
    assert scales_of(grid_of(reach, 8)) == list(grid_of(reach, 8).scales)


def test_bars_beyond_the_grid_have_another_colour() -> None:
    values = histogram_of(np.linspace(-2, 2, 1000), bins=4)
    figure = histogram(values, grid_of(Range(low=-1, high=1), 8), axis="x", **LOOK)
    assert list(figure.data[0].marker.color) == [LOSS, "#123456", "#123456", LOSS]
    assert list(figure.data[0].y) == list(values.counts)
    assert figure.layout.yaxis.type == "log"
    assert "clipped" in figure.data[0].hovertext[0]
    tint = figure.layout.shapes[0]
    assert (tint.x0, tint.x1) == pytest.approx((-1, 1))


def test_few_values_are_lines_through_the_plot_and_many_only_a_ruler() -> None:
    values = histogram_of(np.linspace(-1, 1, 1000))
    few = histogram(values, grid_of(Range(low=-1, high=1), 4), axis="x", **LOOK)
    thin = [shape for shape in few.layout.shapes if shape.type == "line" and not shape.line.dash]
    assert len(thin) == 15 <= FEW_VALUES
    many = histogram(values, grid_of(Range(low=-1, high=1), 8), axis="x", **LOOK)
    assert not [shape for shape in many.layout.shapes if shape.type == "line" and not shape.line.dash]
    assert many.data[1].yaxis == "y2"
    in_float = histogram(values, None, axis="x", **LOOK)
    assert len(in_float.data) == 1
    assert not in_float.layout.shapes


def test_the_path_has_its_points_its_limit_and_a_ring_around_the_chosen_one() -> None:
    path = path_over(["a", "b", "c", "d"], lost=(30, 12, 5, 0), chosen=2)
    figure = path_figure(path, 1, steps="Layers kept in float", **LOOK)
    losses, ring, ring_below, latencies = figure.data
    assert list(losses.y) == pytest.approx([3.0, 1.2, 0.5, 0])
    assert list(losses.x) == ["0", "1", "2", "4"]
    assert list(losses.error_y.array) == [0.1, 0.1, 0.1, 0]
    assert list(losses.marker.color).index("#123456") == 1
    assert (ring.x, ring.y[0]) == (("2",), pytest.approx(0.5))
    assert (ring_below.yaxis, latencies.yaxis) == ("y2", "y2")
    (limit,) = figure.layout.shapes
    assert (limit.y0, limit.line.color) == (1.0, LOSS)
    low, high = figure.layout.yaxis.range
    assert low < 0
    assert high > 3.1


def test_a_path_without_timings_or_labels_is_one_panel_of_agreement() -> None:
    path = path_over(["a", "b"], lost=(30, 0, 0), chosen=1)
    points = tuple(point.model_copy(update={"p50_ms": None, "correct": None}) for point in path.points)
    path = path.model_copy(update={"points": points, "float_correct": None})
    figure = path_figure(path, 1, steps="Steps", **LOOK)
    assert len(figure.data) == 2
    assert "Agreement" in figure.layout.yaxis.title.text
    assert figure.data[0].y[0] == pytest.approx(4.0)
