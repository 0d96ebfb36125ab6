"""Who pays, as figures: how each class fares in each variant, and which stage of a recipe turned how many images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from core.judging import Judging
from experiments.flips import ClassChanges
from ui.figures.frame import LONGEST_TITLE, Colours, framed, shorten

LIGHT, DARK = ("#DE6A56", "#F1F3F6", "#4A97D0"), ("#B5453A", "#27303C", "#2F6FB5")
"""What was lost, no change, and what was gained: red to blue, which all kinds of colour vision tell apart."""
TEXT_LIGHT, TEXT_DARK = "#101820", "#F4F7FA"
"""Of numbers inside cells: legible on all three."""
MOST_CLASSES = 40
MOST_ACROSS = 12
"""Classes that have room side by side; more of them are drawn one below the other."""
HEAD_CHARACTERS, SHORTEST_LINE = 90, 9
"""Characters that fit side by side above all columns, and of a line of a column's title at the least."""
ROW_HEIGHT, LINE_HEIGHT, STAGE_HEIGHT, FRAME_HEIGHT = 34, 17, 44, 24
SMALLEST_REACH = 1.0
"""Points at which the colours are full at the least, so that a tenth of a point does not look like a catastrophe."""


def changed_classes(changes: ClassChanges) -> list[str]:
    """The classes in which any variant changed an answer, worst first; of too many those that changed most."""
    moved = (changes.lost + changes.gained).sum(axis=1) > 0
    largest = changes.points[moved].abs().max(axis=1).nlargest(MOST_CLASSES).index
    return [str(name) for name in changes.points.index if name in largest]


def cells(changes: ClassChanges) -> pd.DataFrame:
    """A row for each class and variant: class, variant, images, points, lost, gained, p_value, significant."""
    names = ("points", "lost", "gained", "p_values", "significant")
    columns = {name.replace("values", "value"): getattr(changes, name).stack() for name in names}
    table = pd.DataFrame(columns).rename_axis(["class", "variant"]).reset_index()
    table.insert(2, "images", table["class"].map(changes.images))
    return table


def class_map(changes: ClassChanges, *, colours: Colours, ink: str, dark: bool) -> go.Figure:
    """Points gained or lost by each changed class in each variant; what is more than chance is bold and starred.

    Variants go by title here, `colours` too. The longer side goes down: classes side by side only while they fit.
    """
    classes, variants = changed_classes(changes), [str(title) for title in changes.points]
    across = len(classes) <= MOST_ACROSS
    rows, columns = (variants, classes) if across else (classes, variants)
    table = cells(changes)
    table = table.assign(text=table.apply(_text, axis=1), hover=table.apply(_hover, axis=1))
    index, head = ("variant", "class") if across else ("class", "variant")
    points, text, hover = (
        table.pivot(index=index, columns=head, values=name).reindex(index=rows, columns=columns)
        for name in ("points", "text", "hover")
    )
    figure = go.Figure(_heat(points, text, hover, dark=dark))
    longest = max(SHORTEST_LINE, HEAD_CHARACTERS // len(columns))
    heads = [_title(each, colours, longest) for each in columns]
    sides = [_title(each, colours) for each in rows]
    look: dict[str, Any] = {
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        "ticks": "",
        "tickfont": {"color": ink},
    }
    figure.update_xaxes(side="top", tickvals=list(range(len(heads))), ticktext=heads, tickangle=0, **look)
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(sides))), ticktext=sides, **look)
    lines = max((each.count("<br>") + 1 for each in heads), default=1)
    return framed(figure, height=max(150, FRAME_HEIGHT + LINE_HEIGHT * lines + ROW_HEIGHT * len(rows)))


def _heat(points: pd.DataFrame, text: pd.DataFrame, hover: pd.DataFrame, *, dark: bool) -> go.Heatmap:
    """Coloured cells, the same distance from no change equally strong on both sides."""
    reach = max(SMALLEST_REACH, float(points.abs().max().max()))
    low, middle, high = DARK if dark else LIGHT
    bar = {
        "title": {"text": "points", "font": {"size": 12}},
        "thickness": 10,
        "outlinewidth": 0,
        "nticks": 5,
        "tickformat": "+",
    }
    font = {"size": 12, "color": TEXT_DARK if dark else TEXT_LIGHT}
    return go.Heatmap(
        z=points.to_numpy(float), text=text.to_numpy(), texttemplate="%{text}", hovertext=hover.to_numpy(),
        hoverinfo="text", xgap=2, ygap=2, zmin=-reach, zmax=reach, colorbar=bar, textfont=font,
        colorscale=[(0, low), (0.5, middle), (1, high)],
    )  # fmt: skip


def _text(cell: pd.Series[Any]) -> str:
    words = f"{cell.points:+.1f}" if cell.points else "0"
    return f"<b>{words} *</b>" if cell.significant else words


def _hover(cell: pd.Series[Any]) -> str:
    counts = f"{cell.lost:,} lost, {cell.gained:,} gained, of {cell.images:,}"
    chance = f"p = {cell.p_value:.3g} after Holm's correction"
    head = f"<b>{shorten(cell['class'], 60)}</b> · {shorten(cell.variant)}"
    return "<br>".join((head, f"{cell.points:+.2f} points", counts, chance))


def _title(name: str, colours: Colours, longest: int = LONGEST_TITLE) -> str:
    """A variant's title after its colour, or a class's name, in lines of at most so many characters."""
    words = _wrapped(shorten(name), longest)
    return f"<span style='color:{colours[name]}'>■</span> {words}" if name in colours else words


def _wrapped(words: str, longest: int) -> str:
    lines = [""]
    for word in words.replace("/", "/ ").split():
        joined = f"{lines[-1]} {word}".replace("/ ", "/").strip()
        lines = [*lines[:-1], joined] if len(joined) <= longest else [*lines, word]
    return "<br>".join(line for line in lines if line)


def stage_bars(counts: pd.DataFrame, judging: Judging, *, ink: str, dark: bool) -> go.Figure:
    """A bar for each stage: images it turned wrong to the left, images it turned right to the right.

    `counts` is that of `experiments.flips.StagesOfFlips`.
    """
    rows = [-float(row) for row in range(len(counts))]
    lost_word, gained_word = judging.turned
    lost_colour, _, gained_colour = DARK if dark else LIGHT
    zero = [place for row in rows for place in (row - 0.26, row + 0.26, None)]
    figure = go.Figure(
        [
            _turned(-counts.right_to_wrong, rows, lost_colour, f"{judging.unit} turned {lost_word}"),
            _turned(counts.wrong_to_right, rows, gained_colour, f"{judging.unit} turned {gained_word}"),
            go.Scatter(
                x=[0, 0, None] * len(rows), y=zero, mode="lines", line={"color": ink, "width": 1}, hoverinfo="skip"
            ),
        ]
    )
    words = [_stage_words(row, stage, ink) for row, stage in zip(rows, counts.itertuples(), strict=True)]
    figure.update_layout(annotations=[each for three in words for each in three])
    lost, gained = counts.max()
    spare = 0.14 * max(1, lost + gained)
    figure.update_xaxes(range=[-lost - spare, gained + spare], visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, range=[-len(counts) + 0.6, 0.75], fixedrange=True)
    return framed(figure, height=FRAME_HEIGHT + STAGE_HEIGHT * len(counts))


def _turned(images: pd.Series[int], rows: Sequence[float], colour: str, words: str) -> go.Bar:
    hover = f"%{{customdata:,}} {words}<extra></extra>"
    return go.Bar(
        x=images, y=rows, orientation="h", width=0.4, marker_color=colour, customdata=images.abs(), hovertemplate=hover
    )


def _stage_words(row: float, stage: Any, ink: str) -> list[dict[str, Any]]:
    """Above a bar its stage, at its ends the numbers of images."""
    font = {"size": 12, "color": ink}
    at_ends = [
        (-stage.right_to_wrong, f"{stage.right_to_wrong:,}", "right", -4),
        (stage.wrong_to_right, f"{stage.wrong_to_right:,}", "left", 4),
    ]
    title = {"x": 0, "xref": "x domain", "y": row + 0.45, "xanchor": "left", "text": shorten(stage.Index)}
    ends = [
        {"x": x, "y": row, "xanchor": anchor, "xshift": shift, "text": words} for x, words, anchor, shift in at_ends
    ]
    return [{"showarrow": False, "font": font, "yanchor": "middle", **each} for each in (title, *ends)]
