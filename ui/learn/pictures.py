"""What techniques do to the weights of a layer, computed on one small matrix and drawn as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from core.data import Floats

CELL, GAP, TITLE = 11, 28, 22
"""Pixels: a weight, what lies between two drawings, and what a title takes above one."""
ABOVE, BELOW_ZERO = "#3B7DE0", "#D97706"
LINE = 420
"""Pixels from the largest negative number of a format to the largest positive one."""


def weights() -> Floats:
    """float32[8, 8] of a layer with weak and strong outputs (rows) and inputs (columns)."""
    drawn = np.random.default_rng(3)
    strengths = drawn.uniform(0.3, 1.2, (8, 1)) * drawn.uniform(0.3, 1.2, (1, 8))
    return (drawn.normal(size=(8, 8)) * strengths).astype(np.float32)


def pruned(w: Floats) -> Floats:
    """w with its smaller half set to zero."""
    return np.where(np.abs(w) > np.median(np.abs(w)), w, 0)


def two_of_four(w: Floats) -> Floats:
    """w with the two smaller of every four neighbours along a row set to zero."""
    fours = w.reshape(-1, 4)
    is_kept = np.argsort(np.argsort(np.abs(fours), axis=1), axis=1) >= 2
    return np.where(is_kept, fours, 0).reshape(w.shape)


def narrower(w: Floats) -> Floats:
    """w without the rows and columns of the smaller norms, half of each."""
    rows, columns = (np.linalg.norm(w, axis=axis) for axis in (1, 0))
    return w[np.ix_(rows > np.median(rows), columns > np.median(columns))]


def factors(w: Floats) -> tuple[Floats, Floats]:
    """Two thin matrices, [8, 2] and [2, 8], whose product is as near to w as that of any two."""
    u, s, v = np.linalg.svd(w)
    return u[:, :2] * np.sqrt(s[:2]), np.sqrt(s[:2, None]) * v[:2]


def clustered(w: Floats) -> Floats:
    """w with four values: each weight takes the mean of those near it in size, a quarter of them all."""
    order = np.argsort(w, axis=None)
    shared = np.empty_like(w.ravel())
    for quarter in np.array_split(order, 4):
        shared[quarter] = w.ravel()[quarter].mean()
    return shared.reshape(w.shape)


def integers(bits: int) -> list[float]:
    """The numbers that a symmetric integer grid has, as shares of the largest."""
    largest = 2 ** (bits - 1) - 1
    return [each / largest for each in range(-largest, largest + 1)]


def floats(lowest: int, highest: int, mantissa: int, *, largest: float) -> list[float]:
    """The numbers that a small float format has, as shares of the largest; subnormals have the lowest exponent."""
    steps = 2**mantissa
    found = {2.0**lowest * each / steps for each in range(steps)}
    found |= {2.0**exponent * (1 + each / steps) for exponent in range(lowest, highest + 1) for each in range(steps)}
    shares = {each / largest for each in found if each <= largest}
    return sorted({*shares, *(-each for each in shares)})


def fp8() -> list[float]:
    """The numbers of E4M3, as shares of 448."""
    return floats(-6, 8, 3, largest=448.0)


def fp4() -> list[float]:
    """The numbers of E2M1, which NVFP4 scales in blocks of 16, as shares of 6."""
    return floats(0, 2, 1, largest=6.0)


def smaller_network(ink: str) -> str:
    """What pruning and factorising leave of one layer's weights."""
    w = weights()
    drawings = {
        "As trained": (w,), "Structured pruning": (narrower(w),), "Low rank": factors(w),
        "Unstructured": (pruned(w),), "2:4": (two_of_four(w),),
    }  # fmt: skip
    return _matrices(drawings, ink)


def smaller_file(ink: str) -> str:
    """What pruning and clustering leave of one layer's weights."""
    w = weights()
    return _matrices({"As trained": (w,), "Pruned": (pruned(w),), "Clustered, 4 values": (clustered(w),)}, ink)


def fewer_bits(ink: str) -> str:
    """The numbers that four formats have."""
    rows = {"INT8": integers(8), "FP8": fp8(), "INT4": integers(4), "NVFP4": fp4()}
    parts = []
    for row, (title, numbers) in enumerate(rows.items()):
        y = 6 + 24 * row
        parts.append(_words(0, y + 11, title))
        parts += [_tick(60 + LINE * (1 + number) / 2, y) for number in numbers]
    return _svg(60 + LINE + 2, 24 * len(rows), parts, ink)


PICTURES: dict[str, tuple[Callable[[str], str], str]] = {
    "Smaller network": (
        smaller_network,
        "One layer's weights: blue above zero, orange below, paler where smaller. Structured pruning takes half of the "
        "rows and columns here, a low rank keeps 2 of 8 directions, the others set half of the weights to zero. Only "
        "smaller matrices are less arithmetic in every engine.",
    ),
    "Fewer bits": (
        fewer_bits,
        "Every number that a format has, from the largest negative to the largest positive one: integers lie evenly, "
        "floating-point numbers close together near zero. NVFP4 scales these anew for every 16 weights.",
    ),
    "Smaller file": (
        smaller_file,
        "One layer's weights: blue above zero, orange below, paler where smaller. As many numbers are stored as "
        "before; compression saves on zeros and repeated values.",
    ),
}
"""By the group of techniques that it is about, how a picture is drawn in a colour, and what is to be seen on it."""


def _matrices(drawings: dict[str, tuple[Floats, ...]], ink: str) -> str:
    parts, x = [], 0
    for title, matrices in drawings.items():
        left = x
        parts.append(_words(x, 11, title))
        for w in matrices:
            parts.append(_matrix(w, x))
            x += CELL * w.shape[1] + CELL
        x = max(x, left + 7 * len(title)) + GAP
    return _svg(x - GAP, TITLE + 8 * CELL, parts, ink)


def _matrix(w: Floats, x: float) -> str:
    shades = np.sqrt(np.minimum(np.abs(w) / np.abs(weights()).max(), 1))
    return "".join(
        f'<rect x="{x + CELL * column:g}" y="{TITLE + CELL * row}" width="{CELL - 1}" height="{CELL - 1}" '
        f'fill="{ABOVE if w[row, column] > 0 else BELOW_ZERO}" fill-opacity="{shade:.2f}" '
        'stroke="currentColor" stroke-opacity="0.25" stroke-width="0.5"/>'
        for (row, column), shade in np.ndenumerate(shades)
    )


def _tick(x: float, y: float) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="0.8" height="14" fill="currentColor"/>'


def _words(x: float, y: float, words: str) -> str:
    return f'<text x="{x:g}" y="{y}" fill="currentColor" font-size="12">{words}</text>'


def _svg(width: float, height: float, parts: Iterable[str], ink: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="sans-serif" color="{ink}">{"".join(parts)}</svg>'
    )
