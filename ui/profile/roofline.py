"""What bounds each layer: arithmetic, memory or overhead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.bundle import precision_title
from experiments import profile_words
from experiments.peaks import Peaks
from experiments.roofline import BOUNDS, Placed, placed_in
from ui import text
from ui.figures.frame import PLAIN
from ui.figures.roofline import roofline
from ui.profile.layers import BOUND_HELP
from ui.profile.subject import Subject
from ui.state import ink, is_dark

READING = (
    "Across: how much a layer multiplies for each byte that it moves. Upwards: how fast. Area of a dot: its time. "
    "A layer under the slope waits for memory, one under the flat part for arithmetic; far below both, for neither."
)
RULE = (
    "A layer cannot take less than its multiply-accumulates take at the rate that this engine attains in its "
    "precision, nor less than its bytes (weights, inputs and outputs, each once) take at the bandwidth of the cache or "
    "memory that they fit into; both are probed in the same profile. The larger of the two names the bound if it "
    "explains at least half of the measured time. Where neither does, overhead does: launching, too little work, or a "
    "poor kernel. It is not told where the engine does not say what the layer multiplies or moves, or where its "
    "rounding, or calls that take longer than the fastest ones, could change the answer."
)
COLUMNS: dict[str, Any] = {
    "name": st.column_config.TextColumn("Module", pinned=True),
    "op": "Operation",
    "precision": "Precision",
    "time_ms": st.column_config.NumberColumn("Time", format="%.4f ms"),
    "arithmetic_ms": st.column_config.NumberColumn(
        "Least by arithmetic", format="%.4f ms", help="Its multiply-accumulates at the probed rate."
    ),
    "bytes_ms": st.column_config.NumberColumn(
        "Least by bytes", format="%.4f ms", help="Its bytes at the probed bandwidth."
    ),
    "intensity": st.column_config.NumberColumn("Intensity", format="%.2f MAC/byte"),
    "rate": st.column_config.NumberColumn("Attained", format="%.1f GMAC/s"),
    "attained": st.column_config.NumberColumn(
        "Of ceiling", format="%.1f %%", help="The larger least time over the measured one; above 100 % it is faster "
        "than what was probed."
    ),
    "bound": st.column_config.TextColumn("Bound", help=BOUND_HELP),
}  # fmt: skip


def draw(subject: Subject) -> None:
    """The sentence, the figure, and the table behind it; or why there is none."""
    result = subject.result
    if result.peaks is None:
        reason = result.why_no_peaks or "The profile did not probe it."
        st.info(f"What this device attains is not known, so nothing can be set against it. {text.escape(reason)}",
                icon=":material/info:")  # fmt: skip
        return
    found = placed_in(result)
    words = profile_words.bounds(found, is_contended=result.latency.is_contended)
    st.markdown(f"**{text.escape(words)}**", help=RULE)
    with st.container(border=True):
        draw_figure(found, result.peaks)
    draw_table(found)


def draw_figure(found: Sequence[Placed], peaks: Peaks) -> None:
    """Every layer that multiplies, below its ceilings."""
    if any(each.intensity and each.macs_per_s for each in found):
        figure = roofline(found, peaks, dark=is_dark(), ink=ink())
        st.plotly_chart(figure, key="roofline", config=PLAIN, alt="Rate over arithmetic intensity of every layer")
        st.caption(f"{READING} Ceilings were measured in this profile.")
    else:
        st.info("The engine does not say how much any of its layers multiplies and moves.", icon=":material/info:")
    for words in (profile_words.above(found), profile_words.unshown(found), lacking(found)):
        if words:
            st.caption(text.escape(words))


def lacking(found: Sequence[Placed]) -> str:
    """Precisions that layers ran in and that have no ceiling."""
    missing = {
        precision_title(each.layer.precision) for each in found if each.layer.macs and each.arithmetic_ms is None
    }
    return f"No ceiling was probed for {', '.join(sorted(missing))}." if missing else ""


def draw_table(found: Sequence[Placed]) -> None:
    """The figures behind the dots, those of other layers included."""
    with st.expander("These figures as a table", key="roofline.table", icon=":material/table:"):
        st.dataframe(table_of(found), hide_index=True, column_config=COLUMNS, placeholder="", alt="Bounds of layers")


def table_of(found: Sequence[Placed]) -> pd.DataFrame:
    """A row for each layer, the one that takes longest first."""
    rows = [
        {
            "name": each.layer.name,
            "op": each.layer.op,
            "precision": precision_title(each.layer.precision),
            "time_ms": each.layer.time_ms,
            "arithmetic_ms": each.arithmetic_ms,
            "bytes_ms": each.bytes_ms,
            "intensity": each.intensity,
            "rate": each.macs_per_s / 1e9 if each.macs_per_s else None,
            "attained": None if each.attained is None else 100 * each.attained,
            "bound": BOUNDS[each.bound],
        }
        for each in sorted(found, key=lambda each: -each.layer.time_ms)
    ]
    return pd.DataFrame(rows)
