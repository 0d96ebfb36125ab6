from __future__ import annotations

import pytest

from core.anatomy import MemoryStep
from ui.figures.anatomy import MOST_BLOCKS, OF_THE_NETWORK, blocks, memory, peak_of, worth
from ui.figures.waterfall import LOSS
from ui.text import KIB, MIB

LOOK = {"colour": "#1D62D3", "ink": "#334155"}


def steps(*held: tuple[str, int]) -> list[MemoryStep]:
    """Modules with the KiB that are held after them."""
    return [MemoryStep(module=name, op="aten.convolution", live_bytes=kib * KIB) for name, kib in held]


RESIDUAL = steps(("stem", 20), ("body.0.conv", 30), ("body.0", 40), ("", 40), ("body.1.conv", 15), ("head", 5))


def test_every_operation_is_a_bar_and_the_first_peak_is_marked() -> None:
    figure = memory(RESIDUAL, **LOOK)
    (bars,) = figure.data
    assert list(bars.y) == [20, 30, 40, 40, 15, 5]
    assert [place for place, colour in enumerate(bars.marker.color) if colour == LOSS] == [2]
    assert figure.layout.annotations[0].text == "<b>40.0 KiB</b> at body.0"
    assert peak_of(RESIDUAL) is RESIDUAL[2]
    assert "+10.0 KiB since" in bars.hovertext[2]
    assert "−25.0 KiB since" in bars.hovertext[4]
    assert OF_THE_NETWORK in bars.hovertext[3]


def test_large_networks_are_told_in_mib() -> None:
    figure = memory(steps(("a", 2 * MIB // KIB), ("b", 512)), **LOOK)
    assert list(figure.data[0].y) == [2, 0.5]
    assert "MiB" in figure.layout.yaxis.title.text


def test_parts_of_the_network_are_as_fine_as_can_be_told_apart() -> None:
    assert [name for *_, name in blocks(RESIDUAL)] == ["stem", "body.0.conv", "body.0", "body.1.conv", "head"]
    deep = steps(("stem", 1), *((f"blocks.{at}.{part}", 1) for at in range(10) for part in "abc"), ("head", 1))
    found = blocks(deep)
    assert [name for *_, name in found] == ["stem", *(f"blocks.{at}" for at in range(10)), "head"]
    assert (found[0], found[1], found[-1]) == ((0, 1, "stem"), (1, 4, "blocks.0"), (31, 32, "head"))


@pytest.mark.parametrize("count", [1, MOST_BLOCKS + 1])
def test_one_operation_and_too_many_parts_are_drawn_too(count: int) -> None:
    figure = memory(steps(*((f"part{at}", 1) for at in range(count))), **LOOK)
    assert len(figure.data[0].y) == count
    assert len(figure.layout.shapes) == 0


def test_a_name_cannot_be_read_as_html() -> None:
    figure = memory(steps(("<b>x", 1)), **LOOK)
    assert "<b>x" not in figure.layout.annotations[0].text
    assert "<b>x" not in figure.data[0].hovertext[0].replace("<b>&lt;b>x</b>", "")


def test_what_a_bit_is_worth_marks_the_chosen_number() -> None:
    figure = worth({"Weights": [10.0, 16.0, None]}, (2, 3, 4), 3, colour="#1D62D3", height=270)
    (line,) = figure.data
    assert list(line.y) == [10, 16, None]
    assert line.marker.size[1] > line.marker.size[0] == line.marker.size[2]
