from __future__ import annotations

import math

import pytest

from experiments.roofline import placed
from tests.experiments.profiled import PEAKS, layer, layer_profile
from ui.figures.roofline import LABEL_HEIGHT, LARGEST, roofline


def test_every_layer_that_multiplies_has_a_dot_in_the_plot() -> None:
    figure = roofline(placed(layer_profile(), PEAKS), PEAKS, dark=False, ink="#000000")
    dots = {trace.name: trace for trace in figure.data if trace.mode == "markers"}
    assert {name: len(trace.x) for name, trace in dots.items()} == {"Compute-bound": 3, "Overhead": 1}
    compute = dots["Compute-bound"]
    assert list(compute.y) == pytest.approx([80, 80, 1 / 0.015])  # longest first, so that small ones lie on top
    assert list(compute.marker.size) == sorted(compute.marker.size, reverse=True)
    assert compute.marker.size[0] == LARGEST
    (low, high), (bottom, top) = (figure.layout[axis].range for axis in ("xaxis", "yaxis"))
    for trace in dots.values():
        assert all(low < math.log10(x) < high for x in trace.x)
        assert all(bottom < math.log10(y) < top for y in trace.y)


def test_slopes_and_ceilings_are_the_probed_rates() -> None:
    figure = roofline(placed(layer_profile(), PEAKS), PEAKS, dark=True, ink="#FFFFFF")
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    slopes, ceilings = lines[:2], lines[2:]
    for trace, rate in zip(slopes, (100, 10), strict=True):
        assert [y / x for x, y in zip(trace.x, trace.y, strict=True)] == pytest.approx([rate] * len(trace.x))
        assert max(trace.y) == pytest.approx(100)  # where the slope meets the ceiling
    assert [set(trace.y) for trace in ceilings] == [{100.0}]
    assert "100 GMAC/s" in figure.layout.annotations[0].text


def test_names_of_ceilings_that_lie_close_stay_apart() -> None:
    peaks = PEAKS.model_copy(update={"macs_per_s": {"fp32": 100e9, "bf16": 104e9, "int8": 400e9}})
    figure = roofline(placed(layer_profile([layer("a", 0.02)]), peaks), peaks, dark=False, ink="#000000")
    first, second, third = figure.layout.annotations
    assert second.yshift > LABEL_HEIGHT / 2
    assert (first.yshift, third.yshift) == (0, 0)
    used = {trace.y[0]: trace.line.dash for trace in figure.data if trace.mode == "lines" and len(set(trace.y)) == 1}
    assert used == {100: "solid", 104: "dot", 400: "dot"}
