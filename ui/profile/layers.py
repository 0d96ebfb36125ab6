"""Every layer as a table, with its CSV."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import streamlit as st
from pandas.api.types import is_numeric_dtype

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
    "kernel. Not told: the engine, or its clock, says too little."
)
SCALES = {"share": 100, "macs": 1e-6, "output_bytes": 1 / text.KIB, "macs_per_s": 1e-9, "attained": 100}
"""From the unit of the file to the one on screen."""
FORMATS = {
    "time_ms": "%.4f", "share": "%.1f %%", "attained": "%.1f %%", "macs_per_s": "%.1f", "macs": "%.3f",
    "output_bytes": "%.1f",
}  # fmt: skip
TITLES = {
    "place": "#",
    "module": "Module",
    "op": "Operation",
    "time_ms": "Time (ms)",
    "share": "Share",
    "bound": "Bound",
    "attained": "Of ceiling",
    "macs_per_s": "GMAC/s",
    "macs": "MACs (M)",
    "parameters": "Parameters",
    "output_bytes": "Output (KiB)",
    "precision": "Precision",
    "output_shape": "Shape",
    "name": "Name in the engine",
}
"""Of the columns on screen, in their order: what tells most comes first where not all fit."""
HELP = {
    "place": "In the order of execution.",
    "module": f"Several joined by “{FUSED.strip()}” were made into one layer. An operation without a module of its own "
    "lies in the innermost module around its neighbours.",
    "op": "As the engine calls it.",
    "share": "Of the time of all layers. The bar of the longest is full.",
    "bound": BOUND_HELP,
    "attained": "Its least possible time, by arithmetic or by bytes, over its time.",
    "macs_per_s": "Attained: thousands of millions of multiply-accumulates per second.",
    "macs": "Millions of multiply-accumulates, of the whole batch.",
    "parameters": "Of the module before the engine rewrote it.",
    "precision": "That it really executed in.",
    "output_bytes": "What the layer hands on, for the whole batch.",
    "output_shape": "Of its first output, the batch included, in the order in which the engine stores it: some "
    "operations keep the channels last where their neighbours keep them second.",
    "name": "What the engine calls a layer that it does not call by its module.",
}
NETWORK = "(network)"
"""Stands for the module of the network's own operations."""
PADDING, PER_CHARACTER, PER_CAPITAL, BAR, WIDEST = 18, 5.8, 3, 36, 260
"""Pixels of a cell: beside its text, of a character, more of a capital, of the bar beside a share, and at the most."""
HEADER_HEIGHT, ROW_HEIGHT, MOST_ROWS = 34, 31, 25
"""Pixels of the table's header and rows in the page's font; the rows up to which all are seen at once."""


def draw(subject: Subject) -> None:
    """Filters, the table, its totals, and the files to take away."""
    frame = layer_table(subject.result)
    shown = draw_filters(frame)
    table = on_screen(shown)
    st.dataframe(
        table, hide_index=True, column_config=columns_of(table, float(100 * frame.share.max())), placeholder="",
        height=height_of(table), alt="Layers", key="profile.layers",
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
    )[list(TITLES)]
    for name in ("macs", "parameters"):
        table[name] = table[name].where(frame[name] > 0)
    table = table.assign(name=table.name.where(table.name != table.module, ""))
    empty = [name for name in table if table[name].isna().all() or (table[name] == "").all()]
    return table.assign(module=table.module.replace("", NETWORK)).drop(
        columns=[each for each in empty if each != "module"]
    )


def columns_of(table: pd.DataFrame, longest_share: float) -> dict[str, Any]:
    """Each column with its unit, and wide enough for what is in it; the bar of the longest share, in %, is full."""
    found: dict[str, Any] = {}
    for name in map(str, table):
        title, width, words = TITLES[name], width_of(name, table[name]), HELP.get(name)
        if name == "share":
            found[name] = st.column_config.ProgressColumn(
                title, width=width, help=words, format=FORMATS[name], min_value=0, max_value=longest_share or 1.0,
                color="primary",
            )  # fmt: skip
        elif is_numeric_dtype(table[name]):
            shape = FORMATS.get(name, "localized")
            found[name] = st.column_config.NumberColumn(title, width=width, help=words, format=shape)
        else:
            found[name] = st.column_config.TextColumn(title, width=width, help=words, pinned=name == "module")
    return found


def width_of(name: str, values: pd.Series[Any]) -> int:
    """Pixels that the column's title and the longest of its values need."""
    texts = [TITLES[name], *(FORMATS[name] % each if name in FORMATS else as_text(each) for each in values.dropna())]
    longest = max(PER_CHARACTER * len(each) + PER_CAPITAL * sum(map(str.isupper, each)) for each in texts)
    return min(WIDEST, round(PADDING + longest) + (BAR if name == "share" else 0))


def as_text(value: Any) -> str:
    """A whole number with its thousands apart, or a text."""
    return value if isinstance(value, str) else f"{value:,.0f}"


def height_of(table: pd.DataFrame) -> int | Literal["content"]:
    """All rows of a table that is not long; of a long one some and a half, so that there are more is seen."""
    return "content" if len(table) <= MOST_ROWS else HEADER_HEIGHT + ROW_HEIGHT * (MOST_ROWS - 5) + ROW_HEIGHT // 2


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
        graph.draw_downloads(subject)
