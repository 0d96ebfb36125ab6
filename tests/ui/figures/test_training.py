"""Figures of training in reduced precision beside FP32."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.training_gain import smoothed, turn_pace
from tests.experiments.training_comparisons import comparison
from ui.figures.frame import GREY
from ui.figures.training import MOST_POINTS, losses, pace, scale

COLOUR = "#123456"


def test_both_losses_are_smoothed_over_their_steps_and_fp32_is_grey_behind() -> None:
    shown = comparison()
    figure = losses(shown, colour=COLOUR)
    named = {trace.name: trace for trace in figure.data if trace.showlegend is not False}
    assert [trace.line.color for trace in figure.data] == [GREY, GREY, COLOUR, COLOUR]
    values = shown.runs[0].losses.array
    assert np.allclose(named["BF16"].y, smoothed(values, len(values) // 20))
    assert list(named["FP32"].x) == list(range(1, len(values) + 1))
    assert named["FP32"].line.width > named["BF16"].line.width


def test_many_steps_are_thinned_and_keep_their_numbers() -> None:
    figure = losses(comparison(turns=(100,) * 60), colour=COLOUR)
    for trace in figure.data:
        assert len(trace.x) <= MOST_POINTS
        assert trace.x[0] == 1
        assert trace.x[1] - trace.x[0] == 10


def test_the_pace_has_a_dot_a_turn() -> None:
    shown = comparison()
    ours, theirs = pace(shown, colour=COLOUR).data
    assert np.allclose(ours.y, turn_pace(shown.runs[0], shown))
    assert np.allclose(theirs.y, turn_pace(shown.runs[1], shown))
    assert (ours.marker.color, theirs.marker.color) == (COLOUR, GREY)


def test_the_loss_scale_is_drawn_where_it_changes() -> None:
    shown = comparison(precision="fp16")
    (line,) = scale(shown.runs[0], colour=COLOUR).data
    assert list(line.y) == [2**16, 2**15, 2**15]
    assert list(line.x) == [1, 42, 82]
    with pytest.raises(ValueError, match="no loss scale"):
        scale(shown.runs[1], colour=COLOUR)
