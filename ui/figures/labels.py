"""Where the names of discs can stand so that they cover neither a disc nor each other. Pure geometry, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ui.figures.frame import LONGEST_TITLE, shorten

CHARACTER_WIDTH, LINE_HEIGHT, LEADING = 6.4, 15, 5
"""Of text of 12 px, rather too large than too small, and what keeps a name apart from the one below it."""
GAPS = (3, 16, 32, 50)
"""Distances tried between a disc and its name."""
DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
"""Sides tried, the best first: right, left, above, below, then the corners. y points down."""

SLANT = 0.8
"""Height over width of the way to a corner: plotly leaves a line out that meets its text at exactly 45 degrees."""


@dataclass(frozen=True)
class Disc:
    """A disc with its name."""

    x: float
    y: float
    """Shares of the plot's width and height, from its lower left corner."""
    radius: float
    lines: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height that its name takes."""
        return CHARACTER_WIDTH * max(map(len, self.lines)), LINE_HEIGHT * len(self.lines) + LEADING


@dataclass(frozen=True)
class Spot:
    """A place for a name beside its disc."""

    dx: float
    dy: float
    """From the disc's centre to the edge or corner of the name that is nearest to it; dy points down."""
    right: int
    down: int
    """On which side of the disc the name is: -1, 0 or 1 each."""
    is_far: bool
    """Whether it needs a line to the disc."""


def lines_of(title: str) -> tuple[str, ...]:
    """A title as the lines of a name: what was done, then the runtime. Harmless to plotly."""
    head, dot, runtime = title.rpartition(" · ")
    return (shorten(head, LONGEST_TITLE - 8), shorten(runtime, LONGEST_TITLE - 8)) if dot else (shorten(title),)


Line = tuple[float, float, float, float]
"""An upright or level line: x and y of its ends, as shares of the plot."""
Boxes = NDArray[np.float64]
"""[..., W, 4] left, top, right and bottom in plots of several widths, from the upper left corner."""


def place(
    discs: Sequence[Disc], *, widths: Sequence[float], height: float, lines: Sequence[Line] = ()
) -> list[Spot | None]:
    """A spot for each disc's name, None where there is none; those of the first discs are the best.

    A name is free of discs and other names in plots of all these widths, and so, since pixels grow linearly with the
    width, in nearly all plots between them. It crosses as few of the lines as possible.
    """
    sizes = np.array([(width, height) for width in widths], float)
    taken = [_around((disc.x, disc.y, disc.x, disc.y), sizes, disc.radius) for disc in discs]
    barriers = np.array([_around(line, sizes, 1) for line in lines]).reshape(-1, len(sizes), 4)
    spots: list[Spot | None] = []
    for disc in discs:
        spot = _best(disc, sizes, np.stack(taken), barriers)
        spots.append(spot)
        taken += [_box(disc, spot, sizes)] if spot else []
    return spots


def _around(line: Line, sizes: NDArray[np.float64], reach: float) -> Boxes:
    """The box that reaches so many pixels beyond a line or point."""
    low_x, high_x = sorted((line[0], line[2]))
    low_y, high_y = sorted((line[1], line[3]))
    corners = np.array([low_x, 1 - high_y, high_x, 1 - low_y])
    boxes: Boxes = np.tile(sizes, 2) * corners + reach * np.array([-1, -1, 1, 1])
    return boxes


def _best(disc: Disc, sizes: NDArray[np.float64], taken: Boxes, barriers: Boxes) -> Spot | None:
    """Of the free spots the first among those that cross the fewest barriers[L, W, 4]."""
    best, fewest = None, len(barriers) + 1
    for gap in GAPS:
        for right, down in DIRECTIONS:
            spot = _spot(disc, gap, right, down)
            box = _box(disc, spot, sizes)
            inside = (box[:, :2] >= 0).all() and (box[:, 2:] <= sizes).all()
            if inside and not _overlapped(box, taken).any():
                crossed = int(_overlapped(box, barriers).sum())
                if crossed < fewest:
                    best, fewest = spot, crossed
                if not crossed:
                    return best
    return best


def _spot(disc: Disc, gap: float, right: int, down: int) -> Spot:
    reach = disc.radius + gap
    flat = SLANT if right and down else 1.0
    return Spot(right * reach, down * reach * flat, right, down, gap > GAPS[0])


def _box(disc: Disc, spot: Spot, sizes: NDArray[np.float64]) -> Boxes:
    width, height = disc.size
    left = spot.dx - width * (1 - spot.right) / 2
    top = spot.dy - height * (1 - spot.down) / 2
    centre = _around((disc.x, disc.y, disc.x, disc.y), sizes, 0)
    box: Boxes = centre + np.array([left, top, left + width, top + height])
    return box


def _overlapped(box: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Which of others[N, W, 4] share a pixel with the box at any width."""
    apart = (
        (box[:, 2] <= others[..., 0]) | (box[:, 0] >= others[..., 2])
        | (box[:, 3] <= others[..., 1]) | (box[:, 1] >= others[..., 3])
    )  # fmt: skip
    return np.asarray(~apart.all(axis=-1), np.bool_)
