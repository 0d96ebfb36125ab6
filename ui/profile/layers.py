"""Every layer as a table, with its CSV."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.bundle import precision_title
from core.layers import FUSED
from experiments.layer_table import CSV, filtered, layer_table
from experiments.why_format import percent
from ui import tables, text
from ui.profile import graph
from ui.profile.subject import Subject

BOUND_HELP = (
    "What explains at least half of the layer's time. Compute: its multiply-accumulates at the rate probed in this "
    "profile. Memory: its bytes at the probed bandwidth. Overhead: neither, so launching, too little work, or a poor "
    "kernel."
)
COLUMNS: dict[str, Any] = {
    "place": st.column_config.NumberColumn("#", help="In the order of execution.", width=40),
    "name": st.column_config.TextColumn(
        "Module", pinned=True, help=f"Several joined by “{FUSED.strip()}” were made into one layer by the engine."
    ),
    "op": st.column_config.TextColumn("Operation", help="As the engine calls it."),
    "kind": st.column_config.TextColumn(
        "Does", help="Multiplies, converts number format or layout, or something else."
    ),
    "time_ms": st.column_config.NumberColumn("Time", format="%.4f ms"),
    "macs": st.column_config.NumberColumn("MACs", format="%.3f M", help="Multiply-accumulates of the whole batch."),
    "parameters": st.column_config.NumberColumn(
        "Parameters", format="localized", help="Of the module before the engine rewrote it."
    ),
    "output_bytes": st.column_config.NumberColumn(
        "Output", format="%.1f KiB", help="What the layer hands on, for the whole batch."
    ),
    "output_shape": st.column_config.TextColumn("Shape", help="Of its first output, the batch included."),
    "precision": st.column_config.TextColumn("Precision", help="That it really executed in."),
    "macs_per_s": st.column_config.NumberColumn(
        "Attained", format="%.1f GMAC/s", help="Multiply-accumulates per second."
    ),
    "attained": st.column_config.NumberColumn(
        "Of ceiling", format="percent", help="Its least possible time, by arithmetic or by bytes, over its time."
    ),
    "bound": st.column_config.TextColumn("Bound", help=BOUND_HELP),
}
HEADER_HEIGHT, ROW_HEIGHT, MOST_ROWS = 34, 31, 18
"""Pixels of the table's header and rows in the page's font; the rows seen at once."""
SCALES = {"macs": 1e-6, "output_bytes": 1 / text.KIB, "macs_per_s": 1e-9}
"""From the unit of the file to the one on screen."""


def draw(subject: Subject) -> None:
    """Filters, the table, its totals, and the files to take away."""
    frame = layer_table(subject.result)
    shown = draw_filters(frame)
    table = on_screen(shown)
    columns = COLUMNS | {"share": share_column(frame)}
    st.dataframe(
        table, hide_index=True, column_config=columns, height=height_of(table), placeholder="", alt="Layers",
        key="profile.layers",
    )  # fmt: skip
    st.caption(text.escape(totals(frame, shown)))
    if words := parameters_elsewhere(subject, frame):
        st.caption(text.escape(words))
    draw_downloads(subject, shown)


def draw_filters(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that fit what is typed and picked."""
    words, kinds, precisions, bounds = st.columns([3, 2, 2, 2])
    typed = words.text_input("Module or operation", key="profile.filter", placeholder="any", persist_state="session")
    picked = {
        name: column.multiselect(title, list(frame[of].unique()), key=f"profile.filter.{of}", placeholder="any",
                                 format_func=precision_title if of == "precision" else str)
        for name, title, of, column in (
            ("kinds", "Does", "kind", kinds), ("precisions", "Precision", "precision", precisions),
            ("bounds", "Bound", "bound", bounds),
        )
    }  # fmt: skip
    return filtered(frame, words=typed or "", **picked)


def on_screen(frame: pd.DataFrame) -> pd.DataFrame:
    """The table in the units of its columns, without those that say nothing."""
    table = frame.assign(
        **{name: frame[name] * scale for name, scale in SCALES.items()}, precision=frame.precision.map(precision_title)
    )
    for name in ("macs", "parameters"):
        table[name] = table[name].where(frame[name] > 0)
    empty = [name for name in table if table[name].isna().all() or (table[name] == "").all()]
    return table.drop(columns=empty)


def share_column(frame: pd.DataFrame) -> Any:
    """Bars that are full for the layer that takes longest."""
    return st.column_config.ProgressColumn(
        "Share", format="percent", min_value=0, max_value=float(frame.share.max()) or 1.0, color="primary",
        width="small", help="Of the time of all layers. The bar of the longest is full.",
    )  # fmt: skip


def height_of(table: pd.DataFrame) -> int:
    """Pixels: all rows of a short table, some of a long one."""
    return HEADER_HEIGHT + ROW_HEIGHT * min(MOST_ROWS, max(1, len(table)))


def totals(frame: pd.DataFrame, shown: pd.DataFrame) -> str:
    """What the rows on screen add up to, and of how many."""
    time_ms, total_ms = shown.time_ms.sum(), frame.time_ms.sum()
    words = [
        f"{len(shown)} of {len(frame)} layers" if len(shown) < len(frame) else f"{len(frame)} layers",
        f"{time_ms:.3f} ms" + (f" ({percent(time_ms / total_ms)} of all)" if len(shown) < len(frame) else ""),
        f"{text.count(shown.macs.sum())} MACs",
    ]
    if frame.parameters.notna().any():
        words.append(f"{text.count(shown.parameters.sum())} parameters")
    if shown.output_bytes.sum():
        words.append(f"{text.data_size(shown.output_bytes.sum())} handed on")
    return ", ".join(words) + "."


def parameters_elsewhere(subject: Subject, frame: pd.DataFrame) -> str:
    """Where the parameters are that no layer bears; empty where all are in the table."""
    anatomy = subject.result.anatomy
    if anatomy is None:
        return f"Parameters are not known: {subject.result.why_no_anatomy}" if subject.result.why_no_anatomy else ""
    missing = anatomy.parameters - int(frame.parameters.sum())
    if missing <= 0:
        return ""
    return (
        f"{text.count(missing)} of {text.count(anatomy.parameters)} parameters belong to modules that the engine shows "
        "under no name of theirs: merged into other layers, such as batch normalisation, or renamed in the export."
    )


def draw_downloads(subject: Subject, shown: pd.DataFrame) -> None:
    """The rows as CSV, and the traces for other viewers."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download CSV", tables.to_csv(shown.rename(columns=CSV)), f"layers-{subject.record.id}.csv", "text/csv",
            icon=":material/download:", key="profile.csv", on_click="ignore",
            help="The rows on screen, units in the header.",
        )  # fmt: skip
        if draw_files := getattr(graph, "draw_downloads", None):
            draw_files(subject)
