from __future__ import annotations

import pytest

from tests.ui.test_theme import CONFIG, DEFICIENCIES, OKABE_ITO, contrast, smallest_distance
from ui.figures.shares import BOUND_COLOURS, Piece, Share, call_bar, treemap

SHARES = [
    Share(("a", "0", "conv"), 3.0, "Conv", "compute"),
    Share(("a", "0", "Add"), 1.0, "Add", "overhead"),
    Share(("a", "1"), 4.0, "Conv", "memory"),
    Share(("head",), 2.0, "Gemm"),
    Share(("nothing",), 0.0, "Flatten"),
]


def test_a_module_has_what_its_parts_have() -> None:
    (boxes,) = treemap(SHARES, unit="ms", by_bound=False, dark=False).data
    values = dict(zip(boxes.ids, boxes.values, strict=True))
    assert values == {
        "network": 10, "network/a": 8, "network/head": 2, "network/a/0": 4, "network/a/1": 4, "network/a/0/conv": 3,
        "network/a/0/Add": 1,
    }  # fmt: skip
    parents = dict(zip(boxes.ids, boxes.parents, strict=True))
    assert parents["network"] == ""
    assert all(parent in values for child, parent in parents.items() if child != "network")
    assert boxes.labels[boxes.ids.index("network/a/0")] == "a.0"  # a bare number says nothing
    assert boxes.text[boxes.ids.index("network/head")] == "20.0 %"


@pytest.mark.parametrize("dark", [False, True])
def test_bounds_have_their_colours_and_a_legend(dark: bool) -> None:
    boxes, *legend = treemap(SHARES, unit="ms", by_bound=True, dark=dark).data
    mode = BOUND_COLOURS["dark" if dark else "light"]
    colours = dict(zip(boxes.ids, boxes.marker.colors, strict=True))
    assert colours["network/a/1"] == mode["memory"]
    assert colours["network/head"] == mode["unknown"]
    assert [(each.name, each.marker.color) for each in legend] == [
        ("Compute-bound", mode["compute"]), ("Memory-bound", mode["memory"]), ("Overhead", mode["overhead"]),
        ("Not told", mode["unknown"]),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_bounds_stay_apart_for_everyone(mode: str) -> None:
    colours = tuple(BOUND_COLOURS[mode].values())
    for matrix in DEFICIENCIES.values():
        assert smallest_distance(colours, matrix) > smallest_distance(OKABE_ITO, matrix)
    assert min(contrast(colour, CONFIG[mode]["backgroundColor"]) for colour in colours) >= 2


@pytest.mark.parametrize("residual_ms", [0.2, -0.2])
def test_the_pieces_of_a_call_end_at_its_latency(residual_ms: float) -> None:
    pieces = [
        Piece("compute", "Multiplying", 0.5), Piece("conversion", "Converting", 0.0), Piece("other", "Other", 0.3),
        Piece("residual", "Residual", residual_ms),
    ]  # fmt: skip
    figure = call_bar(pieces, p50_ms=0.8 + residual_ms, dark=False, ink="#000000")
    last = figure.data[-1]
    assert last.base[0] + last.x[0] == pytest.approx(0.8 + residual_ms)
    assert figure.layout.shapes[0].x0 == pytest.approx(0.8 + residual_ms)
    assert (last.marker.pattern.shape == "/") == (residual_ms < 0)
    assert figure.layout.xaxis.range[1] >= max(0.8, 0.8 + residual_ms)
