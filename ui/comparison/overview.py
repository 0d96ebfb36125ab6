"""Every measure of every variant: as bars, and as a table to sort, filter and take along."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.judging import Judging
from experiments.compare import DISTURBED
from experiments.references import baseline_title
from experiments.why_tflite import in_general
from ui import figures, tables, text
from ui.comparison.selection import Selection
from ui.comparison.simulated import draw_simulated
from ui.comparison.trained_on import draw_trained_on
from ui.figures.bars import time_digits
from ui.figures.frame import PLAIN, brief_titles

ALWAYS = ("colour", "title", "model", "accuracy", "p50_ms", "size", "gzip")
"""Columns of the table that are never hidden."""
FIRST = (*ALWAYS, "accuracy_change", "speed_change", "size_change")
"""Columns before all others: what variants are compared for is to be in sight without moving the table."""
COLUMNS: dict[str, Any] = {
    "colour": st.column_config.ImageColumn("", width=30, pinned=True, help="The variant's colour in every chart."),
    "title": st.column_config.TextColumn("Variant", pinned=True),
    "model": "Model",
    "runtime": "Runtime",
    "precision": "Precision",
    "agreement": st.column_config.NumberColumn(
        "Agreement", format="%.2f %%", help="Share of the test examples that it and the baseline predict alike."
    ),
    "speed_change": st.column_config.TextColumn(
        "Speed", help="At p50, where the 95 % interval of the ratio excludes 1 and the effect exceeds 3 %."
    ),
    "best_batch_size": st.column_config.NumberColumn("Best batch", format="%d", help="Batch size of that throughput."),
    "energy": st.column_config.NumberColumn("Energy", format="%.3f mJ", help="Per inference, above idle (NVML)."),
    "size": st.column_config.NumberColumn("Size", format="%.3f MiB"),
    "size_change": "Size change",
    "gzip": st.column_config.NumberColumn("Compressed", format="%.3f MiB", help="The same files after gzip."),
    "memory": st.column_config.NumberColumn("Memory", format="%.1f MiB"),
    "parameters": st.column_config.NumberColumn("Parameters", format="%,d"),
    "nonzero": st.column_config.NumberColumn("Not zero", format="%,d", help="Parameters that are not zero."),
    "macs": st.column_config.NumberColumn("MACs", format="%,.1f M", help="Multiply-accumulates for one image."),
    "build_ms": st.column_config.NumberColumn("Build", format="%,.0f ms", help="Opening the file until it can serve."),
    "first_call_ms": st.column_config.NumberColumn("First call", format="%,.1f ms", help="The very first inference."),
}


def draw(selection: Selection) -> None:
    """Bars and table."""
    with st.grid(3, min_column_width=300):
        for panel in figures.panels(selection.frame):
            with st.container(border=True):
                st.markdown(f"**{panel.title}** :small[:gray[{figures.remark(selection.frame, panel)}]]")
                figure = figures.bars(selection.frame, panel, selection.colours, ink=selection.ink)
                st.plotly_chart(figure, key=f"bars.{panel.column}", config=PLAIN, alt=f"{panel.title} of each variant")
    if words := in_general(record.recipe for record in selection.records):
        st.caption(f":material/compress: {words}")
    draw_table(selection)
    draw_trained_on(selection)
    draw_simulated(selection)
    with st.expander("Conditions of every measurement", icon=":material/science:", key="conditions"):
        st.dataframe(tables.conditions(selection.results, selection.titles), alt="Conditions of every variant")


def draw_table(selection: Selection) -> None:
    """Every number, with its difference to the baseline in words, and the way to take them along."""
    st.subheader("All numbers")
    frame = tables.with_agreement(selection.frame, selection.results)
    frame, shows_all = draw_filters(frame)
    columns = columns_for(selection.judging, digits=time_digits(frame))
    table = tables.comparison(frame.assign(title=brief_titles(frame)))
    table["speed_change"] = table.speed_change.str.replace(DISTURBED, " (disturbed)")
    table["colour"] = frame.digest.map(selection.colours).map(tables.swatch).to_numpy()
    table = table[sorted(table, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))]
    order = [str(name) for name in table] if shows_all else tables.differing(table, keep=ALWAYS)
    st.dataframe(
        table, column_config=columns, column_order=order, hide_index=True, placeholder="n/a", alt="All numbers"
    )
    st.caption(what_is_hidden(table, order, columns))
    name = selection.model
    with st.container(horizontal=True):
        st.download_button(
            "Download CSV", tables.to_csv(frame), f"{name}.csv", "text/csv", icon=":material/download:",
            key="csv", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Download JSON", tables.to_json(frame), f"{name}.json", "application/json", icon=":material/download:",
            key="json", on_click="ignore",
        )  # fmt: skip


def columns_for(judging: Judging, *, digits: int = 3) -> dict[str, Any]:
    """The columns of the table, times with so many decimals.

    Without labels accuracy is agreement, and there is no second one beside it.
    """
    accuracy = st.column_config.NumberColumn(judging.title, format="%.2f %%", help=judging.help)
    per_second = judging.unit.capitalize() + "/s"
    columns = COLUMNS | {
        "accuracy": accuracy,
        "accuracy_change": st.column_config.TextColumn(
            f"{judging.title} change",
            help="In points, where McNemar's exact test on the same images finds a difference (p < 0.05).",
        ),
        "p50_ms": st.column_config.NumberColumn("p50", format=f"%.{digits}f ms", help="Median of one inference."),
        "p95_ms": st.column_config.NumberColumn(
            "p95",
            format=f"%.{digits}f ms",
            help="95 of 100 inferences take less; n/a where there were fewer than the 72 calls it needs.",
        ),
        "throughput_per_s": st.column_config.NumberColumn(
            per_second, format="%,.0f", help="At the batch size compared."
        ),
        "best_throughput_per_s": st.column_config.NumberColumn(
            f"{per_second}, best", format="%,.0f", help="The highest over all batch sizes tried."
        ),
    }
    return columns if judging.has_labels else {key: each for key, each in columns.items() if key != "agreement"}


def what_is_hidden(table: pd.DataFrame, order: list[str], columns: dict[str, Any]) -> str:
    """Which columns are not shown, and why."""
    hidden = [str(name) for name in table if name not in order]
    empty = [name for name in hidden if table[name].isna().all()]
    alike = ", ".join(label(columns[name]) for name in hidden if name not in empty)
    return " ".join(
        [
            *([f"Hidden because all variants are alike in it: {alike}."] if alike else []),
            *([f"Not measured here: {', '.join(label(columns[name]) for name in empty)}."] if empty else []),
        ]
    )


def label(config: Any) -> str:
    """How a column of the table is called on screen."""
    return config if isinstance(config, str) else str(config["label"])


def without_labels(judging: Judging) -> str:
    """What the figures of a model without labels say, in two sentences."""
    return (
        f"The test {judging.unit} have no labels: agreement is the share that a variant answers as the untouched "
        "network does, which agrees with itself on all of them. How often either is right is not known."
    )


def draw_filters(frame: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """The rows that the person wants, and whether all columns are to be shown."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for column, title in (("runtime", "Runtime"), ("precision", "Precision")):
            values = list(dict.fromkeys(frame[column]))
            if len(values) > 1:
                chosen = st.pills(
                    title, values, selection_mode="multi", format_func=tables.value_title, key=f"filter.{column}"
                )
                frame = frame[frame[column].isin(chosen)] if chosen else frame
        st.space("stretch")
        shows_all = st.toggle(
            "All columns", key="all-columns", help="Also those in which the variants do not differ.", value=False
        )
    return frame, shows_all


def draw_remarks(selection: Selection) -> None:
    """What has to be known before the numbers are believed."""
    if not selection.judging.has_labels:
        st.info(text.escape(without_labels(selection.judging)), icon=":material/info:")
    frame = selection.frame
    if not frame.is_baseline.any():
        named = baseline_title(selection.model)
        st.info(f"The baseline ({named}) is not among these, so no differences are shown.", icon=":material/info:")
    if disturbed := list(frame.title[frame.is_disturbed]):
        names = text.escape(", ".join(disturbed))
        st.warning(f"The timing of {names} was disturbed; the conditions below the table on Overview say by what.")
    if len(set(frame.device_name)) > 1:
        st.warning(f"These ran on different processors: {text.escape(', '.join(sorted(set(frame.device_name))))}.")
