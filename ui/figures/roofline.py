"""How fast layers multiply over how much they multiply for each byte, below what the device attains.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009). Knows no streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import plotly.graph_objects as go

from core.bundle import precision_title
from experiments.peaks import Peaks
from experiments.roofline import BOUNDS, Bound, Placed, peak_of
from ui import text
from ui.figures.frame import framed, log_ticks, shorten
from ui.figures.shares import BOUND_COLOURS, BOUND_TITLES, EDGE

HEIGHT = 480
LARGEST, SMALLEST = 30, 7
"""Diameters in pixels of the layer that takes longest, and the least that can be seen."""
SYMBOLS: Mapping[Bound, str] = {
    "compute": "circle",
    "memory": "square",
    "overhead": "diamond",
    "unknown": "circle-open",
}
"""So that bounds differ by more than colour."""
DASHES = ("dot", "dash", "dashdot")
"""Of slopes, from the smallest and fastest memory on."""
BESIDE, AROUND, LABEL_HEIGHT = 92, 84, 32
"""Pixels: beside the plot for the names of ceilings, above and below it together, and of a name of two lines."""
SPARE = 1.6
"""Times that axes go on beyond what is drawn."""


def roofline(layers: Sequence[Placed], peaks: Peaks, *, dark: bool, ink: str) -> go.Figure:
    """A dot for each layer that multiplies in a time that the engine shows, of which there is at least one.

    Drawn from the slowest to the fastest, so that no large dot hides a small one.
    """
    mode = "dark" if dark else "light"
    shown = [each for each in layers if each.intensity and each.macs_per_s]
    ceilings = _ceilings(shown, peaks)
    x_range, y_range = _ranges(shown, ceilings, peaks)
    figure = go.Figure()
    used = {each.layer.precision for each in shown}
    _add_roofs(figure, {name: (rate, name in used) for name, rate in ceilings.items()}, peaks, x_range, ink)
    longest_ms = max(each.layer.time_ms for each in shown)
    for bound in BOUNDS:
        if of_bound := sorted((each for each in shown if each.bound == bound), key=lambda each: -each.layer.time_ms):
            figure.add_trace(_dots(of_bound, bound, longest_ms, mode))
    _name_ceilings(figure, ceilings, y_range, ink)
    figure.update_xaxes(**_axis("Multiply-accumulates per byte moved", x_range))
    figure.update_yaxes(**_axis("GMAC/s", y_range))
    figure.update_layout(
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        hovermode="closest",
    )
    return framed(figure, height=HEIGHT, legend=True).update_layout(margin={"r": BESIDE})


def _ceilings(shown: Sequence[Placed], peaks: Peaks) -> dict[str, float]:
    """GMAC/s by precision, those that were probed and those that layers ran in, once each."""
    found = dict(peaks.macs_per_s)
    for each in shown:
        if peak := peak_of(peaks, each.layer.precision):
            found.setdefault(each.layer.precision, peak)
    return {precision: rate / 1e9 for precision, rate in found.items() if rate not in _earlier(found, precision)}


def _earlier(rates: Mapping[str, float], precision: str) -> list[float]:
    names = list(rates)
    return [rates[name] for name in names[: names.index(precision)]]


def _ranges(
    shown: Sequence[Placed], ceilings: Mapping[str, float], peaks: Peaks
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Around all dots, the ceilings and the points where slopes meet them."""
    rates = [each.macs_per_s / 1e9 for each in shown if each.macs_per_s]
    ridges = [1e9 * ceiling / rate for ceiling in ceilings.values() for _, rate in peaks.bandwidth]
    across = [*(each.intensity for each in shown if each.intensity), *ridges]
    upwards = [*rates, *ceilings.values()]
    return (min(across) / SPARE, max(across) * SPARE), (min(upwards) / SPARE, max(upwards) * SPARE)


def _add_roofs(
    figure: go.Figure, ceilings: Mapping[str, tuple[float, bool]], peaks: Peaks, x_range: tuple[float, float], ink: str
) -> None:
    """A slope for each level of memory up to the highest ceiling, and a flat line for each precision.

    Ceilings come with whether any layer runs in their precision; the others are drawn thin and dotted.
    """
    if not ceilings:
        return
    highest = max(rate for rate, _ in ceilings.values())
    fastest = max((rate for _, rate in peaks.bandwidth), default=0.0)
    for (size, rate), dash in zip(peaks.bandwidth, cycle(DASHES), strict=False):
        ridge = 1e9 * highest / rate
        x = _between(x_range[0], min(ridge, x_range[1]))
        figure.add_scatter(
            x=x, y=[rate * each / 1e9 for each in x], mode="lines", line={"color": ink, "width": 1, "dash": dash},
            name=_memory(size, rate), legendrank=2000,
            hovertemplate=f"{_memory(size, rate)}, measured in this profile<extra></extra>",
        )  # fmt: skip
    for precision, (ceiling, is_used) in ceilings.items():
        x = _between(max(x_range[0], 1e9 * ceiling / fastest) if fastest else x_range[0], x_range[1])
        figure.add_scatter(
            x=x, y=[ceiling] * len(x), mode="lines", showlegend=False,
            line={"color": ink, "width": 1.8 if is_used else 1, "dash": "solid" if is_used else "dot"},
            hovertemplate=f"{_arithmetic(precision, ceiling)}, measured in this profile<extra></extra>",
        )  # fmt: skip


def _between(low: float, high: float, count: int = 24) -> list[float]:
    """Values evenly spaced on a logarithmic axis, so that a line can be pointed at anywhere."""
    return [low * (high / low) ** (step / (count - 1)) for step in range(count)]


def _dots(of_bound: Sequence[Placed], bound: Bound, longest_ms: float, mode: str) -> go.Scatter:
    colour = BOUND_COLOURS[mode][bound]
    return go.Scatter(
        x=[each.intensity for each in of_bound],
        y=[each.macs_per_s / 1e9 if each.macs_per_s else None for each in of_bound],
        mode="markers",
        name=BOUND_TITLES[bound],
        marker={
            "symbol": SYMBOLS[bound],
            "size": [max(SMALLEST, LARGEST * math.sqrt(each.layer.time_ms / longest_ms)) for each in of_bound],
            "color": colour,
            "opacity": 0.75,
            "line": {"width": 1, "color": EDGE[mode] if bound != "unknown" else colour},
        },
        customdata=[[_hover(each)] for each in of_bound],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _hover(each: Placed) -> str:
    """Everything about a layer."""
    layer = each.layer
    least = "not known" if each.arithmetic_ms is None else f"{each.arithmetic_ms:.4f} ms"
    lines = [
        f"<b>{shorten(layer.name, 60)}</b>",
        f"{shorten(layer.op, 50)} in {precision_title(layer.precision)}",
        f"{layer.time_ms:.4f} ms; at least {least} by arithmetic, {each.bytes_ms:.4f} ms by bytes",
        f"{each.macs_per_s / 1e9:,.3g} GMAC/s, {each.intensity:,.3g} MAC/byte"
        if each.macs_per_s and each.intensity
        else "",
        f"{text.count(layer.macs)} MACs, {text.data_size(layer.moved_bytes)} moved",
        f"{100 * each.attained:.0f} % of the ceiling" if each.attained else "",
    ]
    return "<br>".join(line for line in lines if line)


def _name_ceilings(figure: go.Figure, ceilings: Mapping[str, float], y_range: tuple[float, float], ink: str) -> None:
    """Beside the plot, so that they cover no dot, and apart from each other."""
    pixels = (HEIGHT - AROUND) / math.log(y_range[1] / y_range[0])
    taken = -math.inf
    for precision, ceiling in sorted(ceilings.items(), key=lambda item: item[1]):
        place = math.log(ceiling / y_range[0]) * pixels
        shift = max(0.0, taken + LABEL_HEIGHT - place)
        taken = place + shift
        figure.add_annotation(
            x=1, xref="paper", y=math.log10(ceiling), xanchor="left", xshift=6, yshift=shift, align="left",
            showarrow=False, font={"size": 11, "color": ink},
            text=f"<b>{precision_title(precision)}</b><br>{ceiling:,.3g} GMAC/s",
        )  # fmt: skip


def _arithmetic(precision: str, ceiling: float) -> str:
    return f"{precision_title(precision)}: {ceiling:,.3g} GMAC/s"


def _memory(size: int, rate: float) -> str:
    return f"{rate / 1e9:,.3g} GB/s on {text.data_size(size)}"


def _axis(title: str, ends: tuple[float, float]) -> dict[str, object]:
    ticks = log_ticks(*ends)
    return {
        "title": title, "type": "log", "range": [math.log10(end) for end in ends], "tickvals": ticks,
        "ticktext": [f"{tick:,g}" for tick in ticks], "zeroline": False,
    }  # fmt: skip
