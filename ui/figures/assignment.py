"""What layers save and lose in INT8, and what a choice of them was expected to give and gave. Knows no streamlit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import plotly.graph_objects as go

from experiments.assignment import LayerGain, Ledger, Loss, Outcome
from ui.figures.frame import GREY, WIDE_RANGE, framed, log_ticks, shorten
from ui.figures.quantization import plain

HEIGHT = 380
SMALLEST, LARGEST = 9, 26
"""Diameters in pixels of the layers with the fewest and the most parameters."""
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
NEAR = 2.0
"""What is not above zero stands that many times below the smallest loss of a logarithmic axis."""


@dataclass(frozen=True)
class Shown:
    """How one measure of loss is written."""

    title: str
    unit: str
    scale: float

    def value(self, loss: float) -> float:
        """The loss in the unit."""
        return self.scale * loss

    def in_words(self, loss: float) -> str:
        """`0.39 points`."""
        return f"{'-' if loss < 0 else ''}{plain(abs(self.value(loss)))} {self.unit}"

    @property
    def axis(self) -> str:
        """`Divergence (nats an image)`."""
        return f"{self.title} ({self.unit})"


LOSSES: Mapping[Loss, Shown] = {
    "divergence": Shown("Divergence", "nats", 1.0),
    "changed_share": Shown("Answers changed", "%", 100.0),
    "lost_points": Shown("Accuracy lost", "points", 1.0),
}


def losses_of(known: Ledger) -> Mapping[Loss, Shown]:
    """What can be lost; without labels no accuracy."""
    return {key: shown for key, shown in LOSSES.items() if key != "lost_points" or known.has_labels}


def scatter(known: Ledger, chosen: Collection[str], loss: Loss, *, colour: str, ink: str) -> go.Figure:
    """ms that each layer saves in INT8 against what it alone loses; to be lassoed. Chosen ones are filled.

    Diamonds are layers whose saving is estimated. Points carry the layer's place as `customdata`.
    """
    axis = _LossAxis.of(loss, [gain.loss(loss) for gain in known.gains])
    figure = go.Figure([_discs(known, chosen, axis, is_chosen, colour, ink) for is_chosen in (False, True)])
    figure.update_layout(
        xaxis={"title": {"text": "ms saved in INT8"}, "zeroline": True, "zerolinecolor": GREY},
        yaxis=axis.look(f"{LOSSES[loss].title} alone ({LOSSES[loss].unit})"),
        legend=LEGEND,
        clickmode="event+select",
    )
    return framed(figure, height=HEIGHT, legend=True).update_layout(dragmode="lasso", margin={"t": 30})


@dataclass(frozen=True)
class _LossAxis:
    """The axis of what layers lose: logarithmic where they lie far apart."""

    loss: Loss
    floor: float | None
    """Where what is not above zero stands on a logarithmic axis, in the unit; None on a linear one."""
    most: float

    @classmethod
    def of(cls, loss: Loss, losses: Sequence[float]) -> _LossAxis:
        values = [LOSSES[loss].value(each) for each in losses]
        positive = [value for value in values if value > 0]
        is_wide = bool(positive) and max(positive) > WIDE_RANGE * min(positive)
        floor = min(positive) / NEAR if is_wide and loss == "divergence" else None
        return cls(loss, floor, max(values, default=0.0))

    def at(self, loss: float) -> float:
        """Where a loss stands."""
        value = LOSSES[self.loss].value(loss)
        return value if self.floor is None else max(value, self.floor)

    def look(self, title: str) -> dict[str, Any]:
        if self.floor is None:
            return {"title": {"text": title}, "rangemode": "tozero", "zeroline": False}
        ticks = log_ticks(self.floor, self.most)
        ends = [log10(self.floor) - 0.15, log10(self.most) + 0.2]
        return {
            "title": {"text": f"{title}, logarithmic"}, "type": "log", "range": ends, "tickvals": ticks,
            "ticktext": [_power(tick) for tick in ticks],
            "zeroline": False,
        }  # fmt: skip


def _power(tick: float) -> str:
    """A power of ten by its exponent where it is small; nothing for the ticks in between."""
    exponent = round(log10(tick))
    if abs(tick / 10.0**exponent - 1) > 1e-6:
        return ""
    return plain(tick) if exponent >= -2 else f"10<sup>{exponent}</sup>"


def _discs(
    known: Ledger, chosen: Collection[str], axis: _LossAxis, is_chosen: bool, colour: str, ink: str
) -> go.Scatter:
    """Those layers that are chosen, or those that are not."""
    most = max(gain.parameters for gain in known.gains)
    picked = [(place, gain) for place, gain in enumerate(known.gains) if (gain.name in chosen) == is_chosen]
    open_ = "" if is_chosen else "-open"
    return go.Scatter(
        x=[gain.saved_ms for _, gain in picked], y=[axis.at(gain.loss(axis.loss)) for _, gain in picked],
        mode="markers", name="INT8" if is_chosen else "stays in FP32", customdata=[place for place, _ in picked],
        marker={
            "size": [SMALLEST + (LARGEST - SMALLEST) * (gain.parameters / most) ** 0.5 for _, gain in picked],
            "color": colour if is_chosen else GREY, "opacity": 0.85, "line": {"color": ink, "width": 1},
            "symbol": [("circle" if gain.is_measured else "diamond") + open_ for _, gain in picked],
        },
        hovertext=[_layer_words(gain, losses_of(known)) for _, gain in picked], hoverinfo="text",
        unselected={"marker": {"opacity": 0.85}}, selected={"marker": {"opacity": 0.85}},
    )  # fmt: skip


def _layer_words(gain: LayerGain, losses: Mapping[Loss, Shown]) -> str:
    saves = "saves" if gain.saved_ms >= 0 else "takes longer by"
    kind = "" if gain.is_measured else ", estimated"
    lost = ", ".join(f"{shown.title.lower()} {shown.in_words(gain.loss(loss))}" for loss, shown in losses.items())
    return (
        f"<b>{shorten(gain.name, 60)}</b><br>{saves} {abs(gain.saved_ms):.4f} ms{kind} ({gain.float_ms:.4f} to "
        f"{gain.int8_ms:.4f})<br>alone: {lost}<br>{gain.parameters:,} parameters"
    )


def frontier(known: Ledger, chosen: Collection[str], loss: Loss, *, colour: str, ink: str) -> go.Figure:
    """Predicted latency against predicted loss, adding the layers one by one, and the present choice."""
    shown, steps = LOSSES[loss], [known.predict(each) for each in known.frontier(loss)]
    line = go.Scatter(
        x=[shown.value(step.loss(loss)) for step in steps], y=[step.ms for step in steps], mode="lines+markers",
        name="the most saved for the least lost", line={"color": GREY, "width": 2}, marker={"size": 6},
        hovertext=[
            f"{step.chosen} layers in INT8<br>{step.ms:.4f} ms<br>{shown.title.lower()} "
            f"{shown.in_words(step.loss(loss))}" for step in steps
        ],
        hoverinfo="text",
    )  # fmt: skip
    now = known.predict(chosen)
    here = go.Scatter(
        x=[shown.value(now.loss(loss))], y=[now.ms], mode="markers", name="your choice", hoverinfo="skip",
        marker={"size": 15, "color": colour, "symbol": "diamond", "line": {"color": ink, "width": 1}},
    )  # fmt: skip
    figure = go.Figure([line, here]).update_layout(
        xaxis={"title": {"text": f"{shown.title}, predicted ({shown.unit})"}, "rangemode": "tozero", "zeroline": False,
               "exponentformat": "none"},
        yaxis={"title": {"text": "Latency, predicted (ms)"}, "zeroline": False, "rangemode": "tozero"},
        legend=LEGEND,
    )  # fmt: skip
    return framed(figure, height=HEIGHT, legend=True).update_layout(margin={"t": 30})


def against(outcomes: Sequence[Outcome], known: Ledger, *, colours: Sequence[str], ink: str) -> go.Figure:
    """Measured latency of each run against the predicted one, beside the line where both are the same."""
    ends = [*(each.ms for each in outcomes), *(each.expected.ms for each in outcomes), known.float_ms]
    low, high = min(ends), max(ends)
    spare = 0.06 * (high - low or high)
    span = [low - spare, high + spare]
    same = go.Scatter(x=span, y=span, mode="lines", line={"color": ink, "width": 1, "dash": "dash"}, hoverinfo="skip")
    dots = [
        go.Scatter(
            x=[each.expected.ms], y=[each.ms], mode="markers", error_y=_interval(each),
            marker={"size": 13, "color": colour, "line": {"color": ink, "width": 1},
                    "symbol": "square" if each.is_base else "circle"},
            hovertext=[_outcome_words(each)], hoverinfo="text",
        )
        for each, colour in zip(outcomes, colours, strict=True)
    ]  # fmt: skip
    figure = go.Figure([same, *dots]).update_layout(
        xaxis={"title": {"text": "Predicted (ms)"}, "range": span, "zeroline": False},
        yaxis={"title": {"text": "Measured (ms)"}, "range": span, "zeroline": False},
    )
    return framed(figure, height=HEIGHT - 60)


def _outcome_words(each: Outcome) -> str:
    disturbed = "<br>timing disturbed" if each.is_disturbed else ""
    return (
        f"<b>{shorten(each.title)}</b><br>predicted {each.expected.ms:.4f} ms<br>measured {each.ms:.4f} ms "
        f"({100 * each.off:+.1f} %){disturbed}"
    )


def _interval(each: Outcome) -> dict[str, Any] | None:
    if each.interval_ms is None:
        return None
    low, high = each.interval_ms
    return {"type": "data", "symmetric": False, "array": [high - each.ms], "arrayminus": [each.ms - low], "width": 4}
