"""What each layer loses when it alone is changed. Knows no streamlit."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from core.scan import CHANGES, Scan, ScanCell
from ui.figures import truth
from ui.figures.frame import shorten

ROW_HEIGHT = 25
LONGEST_NAME = 30
"""Characters of a layer's name beside its row."""
HURTS = {"light": ("#FBF5EC", "#E58A3A"), "dark": ("#2A2620", "#A85A17")}
"""From nothing lost to the most that any cell loses."""


def heat(
    scan: Scan,
    values: Sequence[Sequence[float | None]],
    words: Sequence[Sequence[str]],
    *,
    order: Sequence[int],
    chosen: tuple[int, int] | None,
    dark: bool,
) -> go.Figure:
    """A tile for each layer and change, in the given order of layers; points carry row and column as `customdata`.

    `values` and `words` are by the scan's layers and changes; None where a change does not fit a layer.
    """
    known = [value for row in values for value in row if value is not None]
    most = max([*known, 1e-12])
    tiles = [
        [
            truth.Tile(
                lines=(words[place][column],),
                hover=_cell_words(scan, place, column),
                shade=None if value is None else max(0.0, value / most) ** 0.5,
                hatched=value is None,
            )
            for column, value in enumerate(values[place])
        ]
        for place in order
    ]
    return truth.matrix(
        tiles, rows=[end_of(scan.layers[place]) for place in order],
        columns=[CHANGES[change] for change in scan.changes], chosen=chosen, dark=dark, row_height=ROW_HEIGHT,
        shades=HURTS["dark" if dark else "light"],
    )  # fmt: skip


def end_of(name: str) -> str:
    """The last characters of a layer's name, which tell it from others of its kind."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"


def _cell_words(scan: Scan, place: int, column: int) -> str:
    layer, change = scan.layers[place], scan.changes[column]
    head = f"<b>{shorten(layer, 60)}</b><br>{CHANGES[change]}"
    cell = scan.cell(layer, change)
    if cell is None:
        return f"{head}<br>{shorten(scan.why_missing.get(f'{layer}|{change}', 'not scanned'), 120)}"
    return f"{head}<br>{cell_in_words(scan, cell)}"


def cell_in_words(scan: Scan, cell: ScanCell) -> str:
    """Everything that a cell tells, in lines."""
    right = "" if cell.correct is None else f"{cell.correct:,} of {scan.images:,} right, {scan.correct:,} untouched<br>"
    return (
        f"{right}{scan.images - cell.agreed:,} answers changed<br>"
        f"divergence {cell.divergence:.3g} nats<br>logits {100 * cell.output_error:.3g} % off"
    )
