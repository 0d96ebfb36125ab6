from __future__ import annotations

import pandas as pd
import pytest

from experiments.compare import SIMULATION
from ui.figures.frame import GREY
from ui.figures.simulated import over_bits

INK = "#111111"


def table(*rows: tuple[str, float, float]) -> pd.DataFrame:
    """Title, accuracy and bits of each."""
    found = [
        (title, title, title, accuracy, accuracy - 0.01, accuracy + 0.01, "", 1.0, bits, 2**20, "accuracy", "images")
        for title, accuracy, bits in rows
    ]
    return pd.DataFrame(found, columns=SIMULATION)


def test_each_format_is_a_disc_with_its_interval_over_its_bits() -> None:
    figure = over_bits(table(("INT4", 0.9, 4.5), ("INT8", 0.93, 8.1)), 0.94, {"INT4": "#123456"}, ink=INK)
    first, second = figure.data
    assert (first.x, first.y) == ((4.5,), (90.0,))
    assert first.error_y.array[0] == pytest.approx(1)
    assert first.error_y.arrayminus[0] == pytest.approx(1)
    assert (first.marker.color, second.marker.color) == ("#123456", GREY)
    assert "simulated" in first.hovertext
    assert "1.00 MiB, computed" in first.hovertext


def test_the_baseline_is_a_grey_line_in_the_picture_or_absent() -> None:
    frame = table(("INT2", 0.5, 2.5))
    figure = over_bits(frame, 0.94, {}, ink=INK)
    (line,) = figure.layout.shapes
    assert (line.y0, line.y1, line.line.color) == (94.0, 94.0, GREY)
    low, high = figure.layout.yaxis.range
    assert low < 49
    assert high > 94
    assert not over_bits(frame, None, {}, ink=INK).layout.shapes


def test_every_name_is_written_or_in_the_legend_and_harmless() -> None:
    titles = [f"<b>Simulated format number {number}</b>" for number in range(12)]
    figure = over_bits(table(*((title, 0.9, 4.5) for title in titles)), 0.9, {}, ink=INK)
    written = [note.text for note in figure.layout.annotations]
    in_legend = [trace.name for trace in figure.data if trace.showlegend]
    assert len(written) - 1 + len(in_legend) == 12
    assert in_legend
    assert figure.layout.showlegend
    assert not any("<b>" in text for text in [*written, *in_legend])


def test_wide_weights_stay_on_the_axis() -> None:
    figure = over_bits(table(("most kept", 0.9, 24.0)), None, {}, ink=INK)
    assert figure.layout.xaxis.range[1] >= 25
