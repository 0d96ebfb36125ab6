from __future__ import annotations

import pytest

from ui.figures.waterfall import GAIN, LOSS, Bar, waterfall

BARS = [
    Bar("FP32", 4.0, "total", "#111111"),
    Bar("Promised", -3.0, "promise"),
    Bar("Conversions", 0.5, "step"),
    Bar("Better kernels", -0.2, "step"),
    Bar("INT8", 1.3, "total", "#222222"),
]


def test_each_step_begins_where_the_row_before_ended() -> None:
    bar = waterfall(BARS, ink="#000000").data[0]
    ends = [base + length for base, length in zip(bar.base, bar.x, strict=True)]
    assert ends == pytest.approx([4.0, 1.0, 1.5, 1.3, 1.3])
    assert list(bar.base)[1:4] == pytest.approx([4.0, 1.0, 1.5])


def test_losses_gains_and_totals_have_their_colours() -> None:
    colours = waterfall(BARS, ink="#000000").data[0].marker.color
    assert (colours[0], colours[2], colours[3], colours[4]) == ("#111111", LOSS, GAIN, "#222222")


def test_every_row_carries_its_time_and_its_title() -> None:
    figure = waterfall([*BARS, Bar("<b>", 0.0, "step")], ink="#000000")
    words = [annotation.text for annotation in figure.layout.annotations]
    assert words[:3] == ["<b>4.000</b>", "-3.000", "+0.500"]
    assert figure.layout.yaxis.ticktext[-1] == "&lt;b>"
