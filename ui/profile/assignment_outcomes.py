"""What was predicted of each run with layers in INT8, beside what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from experiments.assignment import Ledger, Outcome
from experiments.run_record import RunRecord
from ui import tables, text
from ui.figures import assignment as figures
from ui.figures.frame import PLAIN
from ui.state import colours, ink

HOW_COMPARED = (
    "Square: the run that the savings come from; its latency agrees by construction, its answers do not have to. "
    "Latencies of different runs differ by a few per cent by themselves; bars show 95 % intervals."
)
COLUMNS: dict[str, Any] = {
    "colour": st.column_config.ImageColumn("", width=32, pinned=True, help="The run's colour in the chart."),
    "title": st.column_config.TextColumn("Run", pinned=True),
    "layers": st.column_config.NumberColumn("In INT8", help="Layers that it really computes in INT8."),
    "predicted_ms": st.column_config.NumberColumn("Latency, predicted", format="%.4f ms"),
    "measured_ms": st.column_config.NumberColumn("Latency, measured", format="%.4f ms"),
    "off": st.column_config.NumberColumn("Off", format="%+.1f %%", help="Measured beyond predicted."),
    "is_disturbed": st.column_config.CheckboxColumn(
        "Disturbed", help="Something else slowed the timing of this run: its latency is too long by an unknown share."
    ),
    "predicted_changed": st.column_config.NumberColumn(
        "Changed, predicted", format="%.2f %%", help="Answers, on calibration images."
    ),
    "measured_changed": st.column_config.NumberColumn(
        "Changed, measured", format="%.2f %%", help="Answers on test images, against the float network."
    ),
    "predicted_lost": st.column_config.NumberColumn("Lost, predicted", format="%.2f points", help="Accuracy."),
    "measured_lost": st.column_config.NumberColumn(
        "Lost, measured", format="%.2f points", help="Accuracy on test images, against FP32 in the same runtime."
    ),
}


def draw_outcomes(records: Sequence[RunRecord], outcomes: Sequence[Outcome], known: Ledger) -> None:
    """Every run with layers in INT8, beside what was expected of it."""
    st.subheader("Predicted against measured")
    if not outcomes:
        st.caption("No run yet: choose layers above and press **Run it**.")
        return
    if all(each.is_base for each in outcomes):
        st.caption("So far there is only the run that the savings come from. Choose other layers and press **Run it**.")
    shades = colours(records)
    tints = [shades[each.recipe.digest] for each in records]
    left, right = st.columns([2, 3])
    with left, st.container(border=True):
        figure = figures.against(outcomes, known, colours=tints, ink=ink())
        st.plotly_chart(figure, key="assign.against", config=PLAIN, alt="Measured against predicted latency")
    with right:
        st.caption(HOW_COMPARED)
        for each in outcomes:
            if each.unasked:
                names = ", ".join(sorted(each.unasked))
                st.caption(
                    f":material/info: **{text.escape(each.title)}**: the engine computed {text.escape(names)} in INT8, "
                    "although the recipe keeps them in float. The prediction counts them as they were executed."
                )
    table = outcome_table(outcomes, tints)
    table = table if known.has_labels else table.drop(columns=["predicted_lost", "measured_lost"])
    st.dataframe(
        table, hide_index=True, placeholder="n/a", key="assign.outcomes",
        column_config=COLUMNS, alt="Predicted and measured figures of each run",
    )  # fmt: skip


def outcome_table(outcomes: Sequence[Outcome], tints: Sequence[str]) -> pd.DataFrame:
    """A row for each run with its colour; which were disturbed, where any was."""
    rows = [
        {
            "colour": tables.swatch(tint),
            "title": each.title,
            "layers": each.expected.chosen,
            "predicted_ms": each.expected.ms,
            "measured_ms": each.ms,
            "off": 100 * each.off,
            "is_disturbed": each.is_disturbed,
            "predicted_changed": 100 * each.expected.changed_share,
            "measured_changed": None if each.changed_share is None else 100 * each.changed_share,
            "predicted_lost": each.expected.lost_points,
            "measured_lost": each.lost_points,
        }
        for each, tint in zip(outcomes, tints, strict=True)
    ]
    table = pd.DataFrame(rows)
    return table if table.is_disturbed.any() else table.drop(columns="is_disturbed")
