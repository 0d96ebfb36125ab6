"""Number formats that were only simulated: what they cost in accuracy, beside the bits that they would take."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.judging import Judging
from experiments.compare import simulations
from experiments.judging import of_frame
from ui import tables, text
from ui.comparison.selection import Selection
from ui.figures.frame import PLAIN
from ui.figures.simulated import over_bits
from ui.state import colours, store

MOST_SHOWN = 12
"""The newest ones: more names than these find no place in the chart."""
WHAT = (
    "Computed in float32 with values rounded to the format. The {noun} is real; **speed is not measured**, and bits "
    "and size are computed from the number of parameters."
)
COLUMNS: dict[str, Any] = {
    "colour": st.column_config.ImageColumn("", width=30, pinned=True, help="The colour in the chart."),
    "title": st.column_config.TextColumn("Number format", width=250, pinned=True),
    "interval": st.column_config.TextColumn("95 % interval"),
    "accuracy_verdict": st.column_config.TextColumn(
        "Change", help="In points, where McNemar's exact test on the same images finds a difference (p < 0.05)."
    ),
    "agreement": st.column_config.NumberColumn(
        "Agreement", format="%.2f %%", help="Share of the test examples that it and the baseline predict alike."
    ),
    "weight_bits": st.column_config.NumberColumn(
        "Bits per weight, computed",
        format="%.2f",
        help="Mean over convolutions and linear layers, scales included; layers kept in float count 32.",
    ),
    "size": st.column_config.NumberColumn(
        "Size, computed", format="%.2f MiB", help="What all parameters would take; no such file was written."
    ),
}


def columns_for(judging: Judging) -> dict[str, Any]:
    """The columns of the table. Without labels accuracy is agreement, and there is no second one beside it."""
    first = {name: COLUMNS[name] for name in ("colour", "title")}
    accuracy = st.column_config.NumberColumn(f"{judging.title}, simulated", format="%.2f %%", help=judging.help)
    rest = {name: each for name, each in COLUMNS.items() if judging.has_labels or name != "agreement"}
    return first | {"accuracy": accuracy} | rest


def draw_simulated(selection: Selection) -> None:
    """A chart and a table of the model's newest simulated runs; nothing where there are none."""
    records = store().simulated(selection.model, limit=MOST_SHOWN)
    if not records:
        return
    base = None if selection.baseline is None else selection.results[selection.baseline.run_id].accuracy
    results = store().simulated_results([record.id for record in records])
    frame = tables.with_unique_titles(simulations(records, results, base))
    tints = colours(records)
    st.subheader("Simulated number formats")
    judging = of_frame(frame)
    st.caption(WHAT.format(noun=judging.noun))
    with st.container(border=True):
        figure = over_bits(frame, base.value if base else None, tints, ink=selection.ink)
        st.plotly_chart(figure, key="simulated", config=PLAIN, alt=f"{judging.title} over bits per weight")
    table = frame.assign(
        colour=frame.digest.map(tints).map(tables.swatch),
        accuracy=100 * frame.accuracy,
        agreement=100 * frame.agreement,
        interval=[
            f"{100 * low:.2f} to {text.share(high)}"
            for low, high in zip(frame.accuracy_low, frame.accuracy_high, strict=True)
        ],
        size=frame.size_bytes / text.MIB,
    )
    columns = columns_for(judging)
    st.dataframe(
        table, column_config=columns, column_order=list(columns), hide_index=True, placeholder="n/a",
        key="simulated-table", alt="Simulated number formats",
    )  # fmt: skip
