"""One measure over another, with the Pareto front, and what budgets say about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from experiments.judging import of_frame
from experiments.measures import front, measure, numbers, unmeasured
from ui.figures.axes import Axis, measured, with_unit
from ui.figures.frame import FADED, GREY, Colours, framed, shorten
from ui.figures.labels import Disc, Line, Spot, lines_of, place

HEIGHT, ABOVE, BELOW, BESIDE, LEGEND_ROW = 470, 20, 52, 64, 22
"""Pixels of the figure; above and below its plot, beside it where a limit is written there; of a line of its legend."""
PLOT_WIDTHS = (490, 960, 1500)
"""Pixels that the plot has in windows from 1024 to 1920 wide: names have to find a place in all of them."""
LARGEST, SMALLEST = 36, 8
"""Diameter of the largest file's disc, and of the smallest that still can be seen."""
RING = 10
"""How much wider the ring around the chosen disc is."""
CLEAR = "rgba(0,0,0,0)"
FADED_HOLLOW = 0.6
"""A circle has less colour to lose than a disc."""
ANCHORS = {-1: ("right", "bottom"), 0: ("center", "middle"), 1: ("left", "top")}
"""Which edge of a name is nearest to its disc, by the side on which it is."""


@dataclass(frozen=True)
class Marks:
    """What budgets say about the variants, by run id, and about the measures, by key."""

    chosen: str | None = None
    breaks: Mapping[str, str] = field(default_factory=dict)
    """For each variant that does not fit, the budgets it breaks, in words."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """The most, or the least, that a measure may be, in the unit of its column."""


NO_MARKS = Marks()


def trade_off(frame: pd.DataFrame, x: str, y: str, colours: Colours, *, ink: str, marks: Marks = NO_MARKS) -> go.Figure:
    """The measure `y` over `x`, both keys of `MEASURES`: a disc for each variant in which both were measured.

    Its area is the size of the file. The front is drawn; variants that are not on it are faded, those that break a
    budget hollow, and the chosen one has a ring around it. Names that find no place beside their disc are in a legend
    below.
    """
    is_placed = ~unmeasured(frame, x, y)
    shown = frame[is_placed] if is_placed.any() else frame
    across, up = (Axis.of(shown, key, limit=marks.limits.get(key)) for key in (x, y))
    table = frame.assign(on_front=front(frame, x, y), diameter=_diameters(frame), x=across.values, y=up.values)
    table = table[is_placed].sort_values("diameter", ascending=False, kind="stable")
    rows: list[Any] = list(table.itertuples())
    plot = _Plot(across, up, colours, ink, marks)
    corners = plot.front_corners([row for row in rows if row.on_front])
    spots = plot.spots(rows, corners)
    hover = _hover(frame)
    figure = go.Figure(
        [
            plot.front_line(corners),
            *(plot.disc(row, hover[row.run_id], in_legend=spots[row.run_id] is None) for row in rows),
            *(plot.ring(row) for row in rows if row.run_id == marks.chosen),
        ]
    )
    names = [plot.name(row, spot) for row in rows if (spot := spots[row.run_id])]
    figure.update_layout(**plot.layout(names))
    unplaced = len(rows) - len(names)
    framed(figure, height=HEIGHT + LEGEND_ROW * -(-unplaced // 2), legend=unplaced > 0)
    return figure.update_layout(margin={"t": ABOVE, "r": 4 if up.limit is None else BESIDE})


def symbol_of(row: Any) -> str:
    """A disc, or a diamond for a variant of another model, whose colour may be that of one of the chosen model's."""
    return "diamond" if getattr(row, "is_beside", False) else "circle"


def _diameters(frame: pd.DataFrame) -> pd.Series[float]:
    """Pixels; areas are proportional to the files' sizes, down to what can be seen."""
    sizes = numbers(frame, "size_bytes")
    return (LARGEST * (sizes / sizes.max()) ** 0.5).clip(lower=SMALLEST).fillna(SMALLEST)


def _hover(frame: pd.DataFrame) -> dict[str, str]:
    """Title and all figures of each variant, by run id."""
    named = [measure(key, of_frame(frame)) for key in measured(frame)]
    columns = [(each, numbers(frame, each.column)) for each in named]
    words = {
        row: [f"{each.title} {with_unit(each, values[row])}" for each, values in columns]
        for row in frame.index
    }  # fmt: skip
    rows = zip(frame.index, frame.run_id, frame.title, strict=True)
    return {run_id: "<br>".join([f"<b>{shorten(title, 60)}</b>", *words[row]]) for row, run_id, title in rows}


@dataclass(frozen=True, eq=False)
class _Plot:
    """Two axes and how variants look on them. A row is one of the table, with its `x`, `y`, `diameter`, `on_front`."""

    across: Axis
    up: Axis
    colours: Colours
    ink: str
    marks: Marks

    def front_corners(self, rows: Sequence[Any]) -> list[tuple[float, float]]:
        """The best `y` that can be had at each `x`, as a line with corners on to where the axes end."""
        is_less_better = self.across.measure.better == "less"
        corners: list[tuple[float, float]] = []
        so_far = self.up.worst
        for row in sorted(rows, key=lambda row: row.x, reverse=not is_less_better):
            corners += [(row.x, so_far), (row.x, row.y)]
            so_far = row.y
        return [*corners, (self.across.worst, so_far)] if corners else []

    def front_line(self, corners: Sequence[tuple[float, float]]) -> go.Scatter:
        return go.Scatter(
            x=[x for x, _ in corners], y=[y for _, y in corners], mode="lines", hoverinfo="skip", showlegend=False,
            name="Pareto front", line={"color": self.ink, "width": 1.2, "dash": "dot"},
        )  # fmt: skip

    def disc(self, row: Any, hover: str, *, in_legend: bool) -> go.Scatter:
        colour, breaks = self.colours.get(row.digest, GREY), self.marks.breaks.get(row.run_id, "")
        hover += "" if row.on_front else "<br>Another one is at least as good in both, and better in one"
        hover += f"<br>Breaks: {breaks}" if breaks else ""
        fill = {"color": CLEAR, "line": {"color": colour, "width": 2}} if breaks else {"color": colour}
        opacity = 0.95 if row.on_front else FADED_HOLLOW if breaks else FADED
        return go.Scatter(
            x=[row.x], y=[row.y], mode="markers", name=shorten(row.title), showlegend=in_legend, opacity=opacity,
            marker={"size": row.diameter, "opacity": 1, "symbol": symbol_of(row), **fill},
            hovertext=hover, hoverinfo="text",
            error_x=_error(self.across, row.Index, colour), error_y=_error(self.up, row.Index, colour),
        )  # fmt: skip

    def ring(self, row: Any) -> go.Scatter:
        line = {"color": self.ink, "width": 2.5}
        return go.Scatter(
            x=[row.x], y=[row.y], mode="markers", hoverinfo="skip", showlegend=False, name="Chosen",
            marker={"color": CLEAR, "size": row.diameter + RING, "line": line},
        )  # fmt: skip

    def spots(self, rows: Sequence[Any], corners: Sequence[tuple[float, float]]) -> dict[str, Spot | None]:
        """Where each name goes, by run id: the chosen one's and those of the front are placed first."""
        ordered = sorted(rows, key=lambda row: (row.run_id != self.marks.chosen, not row.on_front))
        discs = [
            Disc(*self.place(row.x, row.y), (row.diameter + RING * (row.run_id == self.marks.chosen)) / 2,
                 lines_of(row.title))
            for row in ordered
        ]  # fmt: skip
        spots = place(discs, widths=PLOT_WIDTHS, height=HEIGHT - ABOVE - BELOW, lines=[*self.lines(rows, corners)])
        return dict(zip((row.run_id for row in ordered), spots, strict=True))

    def lines(self, rows: Sequence[Any], corners: Sequence[tuple[float, float]]) -> Iterator[Line]:
        """What names should not cross: the front, intervals upwards, and limits."""
        for start, end in pairwise(self.place(*corner) for corner in corners):
            yield *start, *end
        for row in rows:
            x = self.across.place(row.x)
            yield x, self.up.place(self.up.low[row.Index]), x, self.up.place(self.up.high[row.Index])
        if self.across.limit is not None:
            yield self.across.place(self.across.limit), 0, self.across.place(self.across.limit), 1
        if self.up.limit is not None:
            yield 0, self.up.place(self.up.limit), 1, self.up.place(self.up.limit)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point as shares of the plot's width and height."""
        return self.across.place(x), self.up.place(y)

    def name(self, row: Any, spot: Spot) -> dict[str, Any]:
        shift = {"ax": spot.dx, "ay": spot.dy} if spot.is_far else {"xshift": spot.dx, "yshift": -spot.dy}
        line = {"arrowhead": 0, "arrowwidth": 1, "arrowcolor": self.ink, "standoff": row.diameter / 2}
        x, y = self.across.coordinate(row.x), self.up.coordinate(row.y)
        return {
            "x": x, "y": y, "text": "<br>".join(lines_of(row.title)),
            "xanchor": ANCHORS[spot.right][0], "yanchor": ANCHORS[spot.down][1], "align": ANCHORS[spot.right][0],
            "font": {"size": 12, "color": self.ink}, "opacity": 1 if row.on_front else 0.7, "borderpad": 0,
            "showarrow": spot.is_far, **(line if spot.is_far else {}), **shift,
        }  # fmt: skip

    def layout(self, names: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Axes, names and limits."""
        limits = [(axis, side) for axis, side in ((self.across, "x"), (self.up, "y")) if axis.limit is not None]
        below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}
        return {
            "xaxis": self.across.layout(),
            "yaxis": self.up.layout(),
            "annotations": [*names, *(_limit_words(axis, side, self.ink) for axis, side in limits)],
            "shapes": [shape for axis, side in limits for shape in _limit_shapes(axis, side, self.ink)],
            "legend": {**below, "itemsizing": "constant"},
        }


def _error(axis: Axis, row: Any, colour: str) -> dict[str, Any]:
    value, low, high = axis.values[row], axis.low[row], axis.high[row]
    if not high > low:
        return {"visible": False}
    return {"array": [high - value], "arrayminus": [value - low], "thickness": 1, "width": 0, "color": colour}


def _limit_shapes(axis: Axis, side: str, ink: str) -> list[dict[str, Any]]:
    """A line at the budget and a shade over all that is beyond it."""
    other = "y" if side == "x" else "x"
    across = {f"{side}ref": side, f"{other}ref": f"{other} domain", f"{other}0": 0, f"{other}1": 1, "layer": "below"}
    line = {"color": ink, "width": 1, "dash": "dash"}
    return [
        {"type": "line", f"{side}0": axis.limit, f"{side}1": axis.limit, "line": line, **across},
        {"type": "rect", f"{side}0": axis.limit, f"{side}1": axis.worst, "line": {"width": 0}, "fillcolor": ink,
         "opacity": 0.07, **across},
    ]  # fmt: skip


def _limit_words(axis: Axis, side: str, ink: str) -> dict[str, Any]:
    """Outside the plot, where no disc can be: above it or to its right."""
    limit = float(axis.limit or 0)
    most = "at most" if axis.measure.better == "less" else "at least"
    amount = with_unit(axis.measure, limit / axis.measure.scale)
    words = {"showarrow": False, "font": {"size": 11, "color": ink}, side: axis.coordinate(limit)}
    if side == "x":
        return {**words, "text": f"{most} {amount}", "y": 1, "yref": "y domain", "yanchor": "bottom"}
    right = {"x": 1, "xref": "x domain", "xanchor": "left", "xshift": 4, "align": "left"}
    return {**words, **right, "text": f"{most}<br>{amount}", "yanchor": "middle"}
