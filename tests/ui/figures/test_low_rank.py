from __future__ import annotations

from math import log10

import numpy as np
import pytest

from experiments.low_rank import energy_curves, layer_table, predicted
from tests.experiments.low_rank_reports import layer_of, report_of
from ui.figures.frame import GREY
from ui.figures.low_rank import spectra

COLOUR, INK = "#123456", "#654321"
REPORT = report_of(
    layer_of("a<b", 40, 40), layer_of("flat", 40, 40, decay=0.001), layer_of("kept", 9, 9, why_fixed="K.")
)


def test_every_spectrum_is_drawn_and_every_split_layer_marked() -> None:
    figure = spectra(energy_curves(REPORT), layer_table(REPORT), 0.9, colour=COLOUR, ink=INK)
    *lines, chosen = figure.data
    assert [line.name for line in lines] == ["a&lt;b", "a&lt;b", "flat", "flat"]
    assert [line.line.color for line in lines] == [COLOUR, GREY] * 2
    assert lines[0].x[-1] == lines[1].x[0] == 19 / 40
    singular = np.exp(-0.2 * np.arange(40))
    lost = 1 - np.cumsum(singular**2) / np.sum(singular**2)
    assert np.allclose(lines[0].y[:10], lost[:10], atol=1e-5)
    (layer,) = REPORT.factorised
    assert list(chosen.x) == [layer.rank / 40]
    assert chosen.customdata[0][:3] == ["a&lt;b", layer.rank, 40]


@pytest.mark.parametrize("energy", [0.5, 0.98, 0.999])
def test_the_line_lies_where_the_energy_is(energy: float) -> None:
    shown = predicted(REPORT, energy)
    figure = spectra(energy_curves(REPORT), layer_table(shown), energy, colour=COLOUR, ink=INK)
    (line,) = figure.layout.shapes
    assert line.y0 == line.y1 == pytest.approx(1 - energy)
    low, high = figure.layout.yaxis.range
    assert high < log10(line.y0) < low
    assert f"{100 * energy:.4g} %" in figure.layout.annotations[0].text


def test_nothing_to_draw_is_an_empty_frame() -> None:
    report = report_of(layer_of("kept", 9, 9, why_fixed="Kept."))
    assert len(spectra(energy_curves(report), layer_table(report), 0.9, colour=COLOUR, ink=INK).data) == 0
