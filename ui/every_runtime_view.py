"""The techniques of a run in every runtime: arithmetic saved beside time saved, and the way to what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.bundle import form_title
from core.judging import Judging
from experiments.compare import DISTURBED
from experiments.every_runtime import Place, State, in_words, missing, places, table
from experiments.judging import of_record
from experiments.models import find, is_here
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from ui import tables, text
from ui.figures.every_runtime import saved_time
from ui.figures.frame import PLAIN
from ui.queue import enqueue_missing, is_known, live_runs
from ui.state import colours, ink, open_page, store

HOW = (
    "Each against the untouched model in the same runtime. **MACs** counts the arithmetic of one example, "
    "whatever the engine makes of it. The interval of a speed-up is that of two separate runs and so a wide one; an "
    "A/B duel on the Compare page tells closer differences apart. Time follows arithmetic where arithmetic is what "
    "takes the time: small layers, memory traffic and the cost of launching an operation do not shrink with it."
)
TIMES = {"p50_ms": "p50", "reference_ms": "Untouched p50"}
COLUMNS: dict[str, Any] = {
    "title": st.column_config.TextColumn("Runtime", pinned=True),
    "verdict": st.column_config.TextColumn(
        "Measured",
        width=170,
        help="Against the untouched model in the same runtime. Disturbed: other work on the machine slowed the "
        "timing of either; run both again on a quiet machine before you trust the difference.",
    ),
    "speedup": st.column_config.NumberColumn(
        "Speed", format="%.2fx", help="Median latency of the untouched model over this variant's, same runtime."
    ),
    "speedup_low": st.column_config.NumberColumn("95 % from", format="%.2fx"),
    "speedup_high": st.column_config.NumberColumn("to", format="%.2fx"),
    "macs_ratio": st.column_config.NumberColumn(
        "Fewer MACs", format="%.2fx", help="Multiply-accumulates of the untouched model over this variant's."
    ),
    "size_ratio": st.column_config.NumberColumn(
        "Smaller file", format="%.2fx", help="Size of the untouched model's file over this one's; below 1 it grew."
    ),
    "gzip_ratio": st.column_config.NumberColumn(
        "Smaller gzip", format="%.2fx", help="The same with both files compressed by gzip."
    ),
    "accuracy": st.column_config.NumberColumn(format="%.2f %%"),
    "accuracy_low": st.column_config.NumberColumn("95 % from", format="%.2f %%"),
    "accuracy_high": st.column_config.NumberColumn("to", format="%.2f %%", width=75),
    **{name: st.column_config.NumberColumn(title, format="%.3f ms", width=90) for name, title in TIMES.items()},
}
CANNOT_RUN: tuple[State, ...] = ("refused", "not for this model")
"""Told in sentences below the table instead of in rows of it."""
TAKEN_ALONG = (*COLUMNS, "is_disturbed", "why")
"""The columns of the file; on screen the words of a difference, and sentences below, say the last two."""


def draw_every_runtime(record: RunRecord) -> None:
    """A finished run's techniques in every runtime; nothing for a run without techniques."""
    if not record.recipe.techniques or not is_here(record.recipe.model):
        return
    found = places(record.recipe, lambda recipe: newest(recipe, record))
    frame = table(found)
    with st.container(border=True, key="every-runtime"):
        st.markdown(
            f"**In every runtime** · {text.escape(in_words(frame) or 'Not measured beside its reference yet.')}"
        )
        if (frame.state == "measured").any():
            figure = saved_time(frame, colour=colours([record])[record.recipe.digest], ink=ink())
            st.plotly_chart(
                figure, key="every-runtime-figure", config=PLAIN, alt="Speed-up and arithmetic saved in every runtime"
            )
        draw_table(frame, of_record(record))
        if disturbed := list(frame.title[frame.is_disturbed.eq(True)]):
            st.markdown(
                f":orange[:material/warning:] Something else slowed the timing in {text.escape(', '.join(disturbed))}: "
                "run these again on a quiet machine before you trust their speed."
            )
        draw_refusals(frame, record.recipe.model)
        draw_missing_runtimes(found)
        st.caption(HOW)


def newest(recipe: Recipe, record: RunRecord) -> RunRecord | None:
    """The run on the page where the recipe is its own; else the newest finished run of the recipe."""
    return record if recipe.digest == record.recipe.digest else store().finished_before(recipe)


def draw_table(frame: pd.DataFrame, judging: Judging) -> None:
    """One row for each runtime where it can run; all of them to take along."""
    accuracy = {"accuracy": st.column_config.NumberColumn(judging.title, format="%.2f %%", help=judging.help)}
    shares = ("accuracy", "accuracy_low", "accuracy_high")
    brief = frame.verdict.replace(DISTURBED, " (disturbed)", regex=True)
    words = brief.where(frame.state == "measured", frame.state)
    can_run = ~frame.state.isin(CANNOT_RUN)
    shown = frame.assign(verdict=words, **{name: 100 * frame[name] for name in shares})
    shown = shown[[name for name in TAKEN_ALONG if shown[name].notna().any() and not (shown[name] == "").all()]]
    if not frame.is_disturbed.eq(True).any():
        shown = shown.drop(columns="is_disturbed", errors="ignore")
    drawn, times = in_microseconds(shown[can_run])
    st.dataframe(
        drawn, column_config=COLUMNS | accuracy | times, column_order=list(COLUMNS), hide_index=True, placeholder="n/a",
        key="every-runtime-table", alt=f"Speed, arithmetic, size and {judging.noun} in every runtime",
    )  # fmt: skip
    st.download_button(
        "Download CSV", tables.to_csv(shown), "every-runtime.csv", "text/csv", icon=":material/download:",
        key="every-runtime-csv", on_click="ignore",
    )  # fmt: skip


def draw_refusals(frame: pd.DataFrame, model: str) -> None:
    """Where the techniques cannot run: in a line what never opens such a model, then a line for each other reason."""
    foreign = frame.title[frame.state == "not for this model"]
    if len(foreign):
        st.caption(f":material/block: Not for a model {form_title(find(model).form)}: {', '.join(foreign)}.")
    refused = frame[frame.state == "refused"]
    for why, titles in refused.groupby("why", sort=False).title:
        st.caption(f":material/block: **{', '.join(titles)}**: {text.escape(str(why))}")


def in_microseconds(shown: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table with its times in microseconds, and their columns, where the quickest one is told so; else as it is."""
    times = [name for name in TIMES if name in shown]
    if not shown[times].min().min() < text.FEW_MICROSECONDS:
        return shown, {}
    columns = {name: st.column_config.NumberColumn(TIMES[name], format="%.1f µs", width=90) for name in times}
    return shown.assign(**{name: 1000 * shown[name] for name in times}), columns


def draw_missing_runtimes(found: Sequence[Place]) -> None:
    """The button that queues what is missing, and how much of it is under way."""
    lacking = missing(found)
    idle = [recipe for recipe in lacking if not is_known(store(), recipe)]
    waiting = len(live_runs(store(), lacking))
    with st.container(horizontal=True, vertical_alignment="center"):
        if idle and st.button(
            "Run in the missing runtimes", icon=":material/play_arrow:", key="every-runtime-run",
            help="This recipe in each runtime where it can run, and the untouched model there.",
        ):  # fmt: skip
            enqueue_missing(store(), idle)
            st.rerun()
        if idle:
            st.caption(f"{len(idle)} {'run' if len(idle) == 1 else 'runs'}, references included.", width="content")
        if waiting:
            st.caption(f"{waiting} of these runs wait or run.", width="content")
            if st.button("Open Runs", icon=":material/arrow_forward:", key="every-runtime-runs"):
                open_page("runs")
