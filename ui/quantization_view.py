"""What quantization did to a network, layer by layer: where it diverges, the grids, what hurts, and the path taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.quantization import FLOAT_BITS, GridSummary, LayerQuantization, QuantizationReport
from experiments.quantized import (
    ONE_BIT_DB,
    Fall,
    clipped_inputs,
    headline,
    layer_table,
    number_format,
    shown_db,
    steepest_fall,
    worst_layer,
)
from experiments.run_record import RunRecord
from ui import tables, text
from ui.figures import quantization as figures
from ui.figures.frame import PLAIN
from ui.figures.grids import FEW_VALUES, histogram, scales_of, values_of
from ui.quantization_path_view import draw_path
from ui.state import colours, ink

DECIBELS = (
    "Signal-to-noise ratio: how many times the power of a signal exceeds that of its error, in decibels. 20 dB is an "
    "error of 1 % of the power, 40 dB of 0.01 %; each bit more or less is worth about 6 dB. **Output** is what leaves "
    "the layer with everything before it rounded too, against the float network; **weights** and **what comes in** "
    "tell what rounding these alone costs. Click a point to look into its layer."
)
COMPUTED = ("int8", "fp8", "nvfp4")
"""Precisions in which what comes in is rounded too, beforehand or anew each time."""
ANEW = "What comes in is rounded anew at every inference, and that rounding is not in these figures. "
COLUMNS: dict[str, Any] = {
    "place": st.column_config.NumberColumn("#", width=40, help="In the order of execution."),
    "name": st.column_config.TextColumn("Layer", width="medium", pinned=True),
    "kind": "Kind",
    "parameters": st.column_config.NumberColumn("Parameters", format="%,d"),
    "number_format": st.column_config.TextColumn("Weights in", help="The number format as executed."),
    "output_snr_db": st.column_config.NumberColumn(
        "Output SNR",
        format="%.1f dB",
        help="Of what goes out against the float network, with every layer up to here rounded. n/a: no error yet.",
    ),
    "input_snr_db": st.column_config.NumberColumn(
        "Input SNR", format="%.1f dB", help="What rounding the incoming values alone costs; n/a where they stay float."
    ),
    "weight_snr_db": st.column_config.NumberColumn(
        "Weight SNR", format="%.1f dB", help="What rounding the weights alone costs; n/a for a layer in float."
    ),
    "clipped_percent": st.column_config.NumberColumn(
        "Clipped", format="%.3g %%", help="Share of incoming values beyond the range that calibration chose."
    ),
    "sensitivity": st.column_config.NumberColumn(
        "Sensitivity",
        format="%.3g",
        help="KL divergence of the predictions in nats an image when this layer alone is quantized: 0 is no change.",
    ),
    "why_float": st.column_config.TextColumn("Why float", width="medium"),
}


@dataclass(frozen=True)
class _Shown:
    """What all sections draw from."""

    report: QuantizationReport
    record: RunRecord
    precision: str
    colour: str
    ink: str

    def key(self, name: str) -> str:
        """A widget key of this run's own."""
        return f"quantization.{name}.{self.record.id}"


def draw_quantization(report: QuantizationReport, record: RunRecord) -> None:
    """The headline and, in tabs, every layer of a finished run's network."""
    known = record.summary or record.ahead
    precision = known.precision if known else simulated_format(record)
    shown = _Shown(report, record, precision, colours([record])[record.recipe.digest], ink())
    with st.container(border=True, key="quantization"):
        st.markdown(f"**Quantized layer by layer** · {text.escape(headline(report, precision))}")
        sections = _sections(report)
        opened = st.tabs(list(sections), key="quantization.tab", on_change="rerun")
        for tab, draw in zip(opened, sections.values(), strict=True):
            if tab.open:
                with tab:
                    draw(shown)


def simulated_format(record: RunRecord) -> str:
    """`fp8` where that is what a run only simulated; empty where nothing is."""
    return next((str(each.model_dump()["number_format"]) for each in record.recipe.techniques if each.simulates), "")


def _sections(report: QuantizationReport) -> dict[str, Callable[[_Shown], None]]:
    """The tabs that have something to show."""
    has_ranges = any(layer.inputs and layer.input_grid for layer in report.layers)
    has_sensitivity = any(layer.sensitivity is not None for layer in report.layers)
    return {
        "Where it diverges": draw_divergence,
        **({"Ranges": draw_ranges} if has_ranges else {}),
        **({"Sensitivity": draw_sensitivity} if has_sensitivity else {}),
        **({"Path": draw_search} if report.path else {}),
        "All layers": draw_table,
    }


def draw_divergence(shown: _Shown) -> None:
    """Signal-to-noise along the network and, below, any layer."""
    layers, fall = shown.report.layers, steepest_fall(shown.report.layers)
    chart, chosen = shown.key("divergence"), shown.key("layer")

    def choose_clicked() -> None:
        for point in st.session_state[chart].selection.points:
            st.session_state[chosen] = int(point["point_index"])

    st.markdown(fall_in_words(fall, layers))
    figure = figures.divergence(layers, fall, colour=shown.colour, ink=shown.ink)
    st.plotly_chart(
        figure, key=chart, on_select=choose_clicked, selection_mode="points", config=PLAIN,
        alt="Signal-to-noise ratio of every layer",
    )  # fmt: skip
    is_served = shown.record.summary is not None and shown.precision in COMPUTED
    anew = is_served and any(layer.bits < FLOAT_BITS and not layer.input_grid for layer in layers)
    st.caption(
        f"{DECIBELS} {ANEW * anew}{symbols_in_words(layers)}Measured on {shown.report.images:,} calibration images."
    )
    draw_layer_choice(shown, chosen)


def symbols_in_words(layers: tuple[LayerQuantization, ...]) -> str:
    """What markers that not all layers share stand for."""
    widths = {layer.bits for layer in layers}
    hollow = "Hollow, on grey: left in float. " * (FLOAT_BITS in widths)
    return hollow + "Diamonds: weights in 4 bits. " * ({4, 8} <= widths)


def fall_in_words(fall: Fall | None, layers: tuple[LayerQuantization, ...]) -> str:
    """Where the output leaves the float network, and what arrives at the end, as markdown."""
    end = shown_db(layers[-1].output_snr_db)
    arrives = f" What leaves the last layer has {end:.1f} dB ({figures.error_in_words(end)})." if end else ""
    if all(layer.output_snr_db is None for layer in layers):
        return "What goes out of the layers is not known: the quantized network shows none of these results."
    if fall is None:
        return "Nowhere does the output fall behind what these bits usually leave." + arrives
    name = f"**{text.escape(fall.layer.name)}** ({text.escape(fall.layer.kind)})"
    start = "the {:.1f} dB that so many bits usually leave" if fall.is_first else "{:.1f}"
    fell = f"from {start.format(fall.before_db)} to {fall.after_db:.1f} dB."
    if fall.db < ONE_BIT_DB:
        words = f"No single layer costs as much as one bit (6 dB). The output falls most at {name}, {fell}"
    elif fall.lasts:
        words = f"The output starts to diverge at {name}: it falls {fell}"
    else:
        words = f"The output falls most at {name}: {fell} It recovers, as other paths lead around that layer."
    return words + arrives


def draw_layer_choice(shown: _Shown, key: str) -> None:
    """A layer to choose, and its histograms and figures."""
    layers = shown.report.layers
    st.session_state.setdefault(key, [each.name for each in layers].index(worst_layer(layers).name))
    place = st.selectbox(
        "Look into a layer", range(len(layers)), format_func=lambda at: f"{at + 1} · {layers[at].name}", key=key,
        help="To begin with, the one where the output falls most.",
    )  # fmt: skip
    draw_layer(shown, layers[place])


def draw_layer(shown: _Shown, layer: LayerQuantization) -> None:
    """Weights and incoming values with the grids over them, and their figures."""
    look = {"colour": shown.colour, "ink": shown.ink}
    with st.grid(3, min_column_width=265):
        with st.container():
            st.markdown(f"**Weights** :small[:gray[{grid_in_words(layer, layer.weight_grid, shown.precision)}]]")
            if layer.weights:
                figure = histogram(layer.weights, layer.weight_grid, axis="Weight", **look)
                st.plotly_chart(figure, key=shown.key("weights"), config=PLAIN, alt="Histogram of the weights")
        with st.container():
            st.markdown(f"**What comes in** :small[:gray[{inputs_in_words(layer)}]]")
            if layer.inputs:
                figure = histogram(layer.inputs, layer.input_grid, axis="Incoming value", **look)
                st.plotly_chart(figure, key=shown.key("inputs"), config=PLAIN, alt="Histogram of incoming values")
        with st.container():
            table = layer_figures(layer, shown.precision)
            st.table(table, border="horizontal", hide_index=True, alt="Figures of this layer")
    if layer.bits == FLOAT_BITS:
        st.caption(f"Left in float: {text.escape(layer.why_float)}")
        return
    if not (layer.weight_grid or layer.input_grid):
        st.caption("As they are before rounding. Counts on a logarithmic axis, so that rare values show.")
        return
    st.caption(
        "Thin lines below: the values that the integers stand for, thinned where they are too many to draw. Tinted: "
        "what the grid reaches; bars beyond it have another colour and are clipped to its end. Counts on a "
        "logarithmic axis, so that rare values show."
    )


def grid_in_words(layer: LayerQuantization, grid: GridSummary | None, precision: str) -> str:
    """`INT8, 255 values, a scale per channel or group`."""
    if grid is None:
        return "in float" if layer.bits == FLOAT_BITS else f"before rounding to {number_format(layer.bits, precision)}"
    values = len(values_of(grid, 1.0))
    shared = "one scale" if len(grid.scales) == 1 else "a scale per channel or group"
    lines = " (lines: the median one)" if len(scales_of(grid)) < len(grid.scales) else ""
    drawn = ", each drawn" if values <= FEW_VALUES else ""
    return f"{number_format(layer.bits, precision)}: {values} values{drawn}, {shared}{lines}"


def inputs_in_words(layer: LayerQuantization) -> str:
    """What was seen and what calibration chose to cover."""
    share = clipped_inputs(layer)
    if share is None:
        return "not on a fixed grid"
    return f"clipped: {figures.share_in_words(share)}"


def layer_figures(layer: LayerQuantization, precision: str) -> pd.DataFrame:
    """Scales, zero points, ranges and ratios in words."""
    rows: list[tuple[str, str]] = [
        ("Kind", layer.kind),
        ("Parameters", f"{layer.parameters:,}"),
        ("Weights in", number_format(layer.bits, precision)),
        *_grid_rows("Weight", layer.weight_grid),
        *([("Input seen", _interval(layer.inputs.range.low, layer.inputs.range.high))] if layer.inputs else []),
        *([("Input covered", _interval(layer.input_grid.covers.low, layer.input_grid.covers.high))]
          if layer.input_grid else []),
        *_grid_rows("Input", layer.input_grid),
        ("Weight SNR", _decibels(layer.weight_snr_db)),
        ("Input SNR", _decibels(layer.input_snr_db)),
        ("Output SNR", "n/a" if layer.output_snr_db is None else _decibels(layer.output_snr_db)),
        ("Sensitivity", "n/a" if layer.sensitivity is None else f"{figures.plain(layer.sensitivity)} nats an image"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["Figure", "Value"])


def _grid_rows(what: str, grid: GridSummary | None) -> list[tuple[str, str]]:
    if grid is None:
        return []
    several = len(grid.scales) > 1
    title = f"{what} scales: smallest, median, largest" if several else f"{what} scale"
    point = f"{what} zero point" + (" (median scale)" if several and grid.zero_point else "")
    return [(title, " · ".join(f"{scale:.3g}" for scale in grid.scales)), (point, str(grid.zero_point))]


def _interval(low: float, high: float) -> str:
    return f"{low:.3g} to {high:.3g}"


def _decibels(value: float | None) -> str:
    if value is None:
        return "n/a: in float"
    return "no error to speak of" if shown_db(value) is None else f"{value:.1f} dB"


def draw_ranges(shown: _Shown) -> None:
    """What was seen against what calibration chose to cover."""
    layers = shown.report.layers
    worst = max(layers, key=lambda layer: clipped_inputs(layer) or 0)
    most = figures.share_in_words(clipped_inputs(worst) or 0)
    st.markdown(
        f"Calibration clips most at **{text.escape(worst.name)}**: {most} of the incoming values."
        if clipped_inputs(worst)
        else "Calibration covers all that was seen: nothing is clipped."
    )
    figure = figures.ranges(layers, colour=shown.colour, ink=shown.ink)
    st.plotly_chart(figure, key=shown.key("ranges"), config=PLAIN, alt="Seen and covered range of each layer's input")
    st.caption(
        f"Seen on the {shown.report.images:,} calibration images behind these figures; calibration may have looked at "
        "more of them, and then covers more. A range that reaches far beyond most values wastes the grid on them; one "
        "that clips much changes what the layer sees."
    )


def draw_sensitivity(shown: _Shown) -> None:
    """Which layers hurt when they alone are quantized."""
    layers = shown.report.layers
    known = sum(layer.sensitivity is not None for layer in layers)
    figure = figures.sensitivity(layers, colour=shown.colour, ink=shown.ink)
    st.plotly_chart(figure, key=shown.key("sensitivity"), config=PLAIN, alt="Sensitivity of the layers")
    more = f" The {figures.MOST_BARS} highest of {known} are shown; all are under All layers." * (
        known > figures.MOST_BARS
    )
    st.caption(
        "How far the predictions move when this layer alone is quantized and all others stay in float: the "
        f"Kullback-Leibler divergence from the float network's, 0 for none. Hollow bars: left in float here.{more}"
    )


def draw_search(shown: _Shown) -> None:
    """The path under the accuracy limit."""
    assert shown.report.path
    draw_path(shown.report.path, shown.record, colour=shown.colour, ink=shown.ink)


def draw_table(shown: _Shown) -> None:
    """Every layer's figures, to sort and to take along."""
    table = layer_table(shown.report, shown.precision)
    order = [name for name in COLUMNS if table[name].notna().any() and not (table[name] == "").all()]
    st.dataframe(
        table, column_config=COLUMNS, column_order=order, hide_index=True, placeholder="n/a",
        key=shown.key("table"), alt="Every layer's figures",
    )  # fmt: skip
    st.download_button(
        "Download CSV", tables.to_csv(table), f"layers-{shown.record.id}.csv", "text/csv",
        icon=":material/download:", key=shown.key("csv"), on_click="ignore",
    )  # fmt: skip
