"""The queue and the history; with `?run=ID` one run as it works, and what came of it."""

import time

import streamlit as st

from experiments.store import LIVE
from ui import tables, text
from ui.live import STATES, duration
from ui.run_view import POLL_SECONDS, draw_cancel, draw_run
from ui.state import open_page, store

LONGEST_HISTORY = 200


def draw_list() -> None:
    """Everything that ran, runs or waits."""
    st.title("Runs")
    if not store().runs(limit=1):
        st.info("No runs yet. Choose techniques on the Optimise page and press **Run**.", icon=":material/info:")
        if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="go-optimise"):
            open_page("optimise")
        return
    st.caption(
        "Runs belong to the server: closing the browser stops none. Runs on the same device wait for each other."
    )
    live = [record.id for record in store().runs(states=LIVE)]
    if live:
        st.subheader("Now")
        st.fragment(draw_queue, run_every=POLL_SECONDS)(live)
    draw_history()


def draw_queue(expected: list[str]) -> None:
    """A line for each run that works or waits, with the means to open or cancel it."""
    records = store().runs(states=LIVE)
    if [record.id for record in records] != expected:
        st.rerun()
    for record in sorted(records, key=lambda each: (each.state == "queued", each.created_at)):
        place = f"{tables.model_title(record.recipe.model)} · {record.recipe.device}"
        state, title, waited, open_it, cancel = st.columns([1, 5, 1.6, 0.8, 1], vertical_alignment="center")
        state.badge(record.state, color=STATES[record.state].colour, icon=STATES[record.state].icon)
        title.markdown(f"**{text.escape(record.recipe.title)}** · {place}")
        since = record.started_at or record.created_at
        waited.caption(f"{'running' if record.started_at else 'waiting'} for {duration(time.time() - since)}")
        if open_it.button("Open", key=f"open-{record.id}", type="tertiary"):
            open_page("runs", run=record.id)
        draw_cancel(record, cancel)


def draw_history() -> None:
    """What has ended, newest first; a click on a row opens it."""
    records = store().runs(states=("finished", "failed", "cancelled"), limit=LONGEST_HISTORY)
    if not records:
        return
    st.subheader("History")
    st.caption("Click a row to open the run.")
    chosen = st.dataframe(
        tables.history(records),
        hide_index=True,
        column_config={
            "state": st.column_config.MultiselectColumn(
                "State", options=list(STATES), color=[state.colour for state in STATES.values()], width=95
            ),
            "title": st.column_config.TextColumn("Variant", width="large"),
            "model": "Model",
            "device": "Device",
            "queued": st.column_config.DatetimeColumn("When", format="distance"),
            "took": "Took",
            "accuracy": st.column_config.NumberColumn("Accuracy", format="%.2f %%"),
            "p50_ms": st.column_config.NumberColumn("Latency p50", format="%.3f ms", help="Median of one inference."),
        },
        placeholder="",
        on_select="rerun",
        selection_mode="single-cell",
        key="history",
        alt="Runs that have ended",
    )
    if chosen.selection.cells:
        open_page("runs", run=records[chosen.selection.cells[0][0]].id)


if run := st.query_params.get("run"):
    draw_run(run)
else:
    draw_list()
