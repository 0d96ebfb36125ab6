"""Names beside discs, held against a check of every pair of pixels' boxes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ui.figures.labels import CHARACTER_WIDTH, LINE_HEIGHT, Disc, Spot, lines_of, place

WIDTHS, HEIGHT = (500, 900), 400
Box = tuple[float, float, float, float]


def name_box(disc: Disc, spot: Spot, width: float) -> Box:
    """Left, top, right and bottom of a name, from what plotly is told: an anchor and a distance."""
    wide, high = CHARACTER_WIDTH * max(map(len, disc.lines)), LINE_HEIGHT * len(disc.lines)
    x, y = disc.x * width + spot.dx, (1 - disc.y) * HEIGHT + spot.dy
    left = {1: x, 0: x - wide / 2, -1: x - wide}[spot.right]
    top = {1: y, 0: y - high / 2, -1: y - high}[spot.down]
    return left, top, left + wide, top + high


def disc_box(disc: Disc, width: float) -> Box:
    x, y = disc.x * width, (1 - disc.y) * HEIGHT
    return x - disc.radius, y - disc.radius, x + disc.radius, y + disc.radius


def overlap(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) > 1e-6 and min(a[3], b[3]) - max(a[1], b[1]) > 1e-6


def random_discs(seed: int, count: int) -> list[Disc]:
    draw = np.random.default_rng(seed)
    return [
        Disc(*draw.uniform(0.05, 0.95, 2), draw.uniform(4, 20), ("Pruned " + "x" * draw.integers(1, 15), "Runtime"))
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_no_name_covers_a_disc_or_another_name_or_leaves_the_plot(seed: int) -> None:
    discs = random_discs(seed, 12)
    spots = place(discs, widths=WIDTHS, height=HEIGHT)
    assert sum(spot is not None for spot in spots) >= 6
    for width in WIDTHS:
        names = [name_box(disc, spot, width) for disc, spot in zip(discs, spots, strict=True) if spot]
        assert all(min(box[:2]) >= -1e-6 and box[2] <= width and box[3] <= HEIGHT for box in names)
        assert not any(overlap(a, b) for a, b in combinations(names, 2))
        assert not any(overlap(name, disc_box(disc, width)) for name in names for disc in discs)


def test_discs_in_one_place_are_named_in_different_ones() -> None:
    twins = [Disc(0.5, 0.5, 10, ("INT8", "OpenVINO"))] * 3
    spots = place(twins, widths=WIDTHS, height=HEIGHT)
    assert len({(spot.dx, spot.dy) for spot in spots if spot}) == 3


def test_the_first_ones_have_the_best_places_and_far_names_say_so() -> None:
    near, far = place([Disc(0.5, 0.5, 10, ("a",)), Disc(0.5, 0.5, 12, ("b",) * 12)], widths=WIDTHS, height=HEIGHT)
    assert near
    assert far
    assert (near.right, near.down, near.is_far) == (1, 0, False)


def test_names_keep_off_lines_where_they_can() -> None:
    disc = Disc(0.5, 0.5, 10, ("INT8",))
    free = place([disc], widths=WIDTHS, height=HEIGHT)[0]
    level, upright = (0.0, 0.5, 1.0, 0.5), (0.5, 0.0, 0.5, 1.0)
    kept_off = place([disc], widths=WIDTHS, height=HEIGHT, lines=[level, upright])[0]
    assert free
    assert kept_off
    assert free.down == 0
    assert kept_off.right * kept_off.down != 0
    assert abs(kept_off.dx) > abs(kept_off.dy)


def test_where_lines_are_everywhere_a_name_crosses_the_fewest() -> None:
    disc, rows = Disc(0.5, 0.5, 10, ("INT8",)), [*np.linspace(0, 0.6, 200), 0.7, 0.8, 0.9]
    spot = place([disc], widths=WIDTHS, height=HEIGHT, lines=[(0.0, y, 1.0, y) for y in rows])[0]
    assert spot
    assert (spot.down, spot.is_far) == (-1, True)
    everywhere = [(0.0, y, 1.0, y) for y in np.linspace(0, 1, 400)]
    assert place([disc], widths=WIDTHS, height=HEIGHT, lines=everywhere)[0]


def test_where_there_is_no_room_there_is_no_name() -> None:
    assert place([Disc(0.5, 0.5, 10, ("x" * 200,))], widths=WIDTHS, height=HEIGHT) == [None]
    assert place([], widths=WIDTHS, height=HEIGHT) == []


def test_a_title_becomes_what_was_done_and_the_runtime() -> None:
    assert lines_of("Pruned 50 % + INT8 · ONNX Runtime") == ("Pruned 50 % + INT8", "ONNX Runtime")
    assert lines_of("<b>mine") == ("&lt;b>mine",)
