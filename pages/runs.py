"""The queue and the history; with `?run=ID` one run as it works, and what came of it."""

import time

import streamlit as st

from experiments.run_record import LIVE, RunRecord
from ui import tables, text
from ui.live import NOT_BUILT, STATES, duration, look_of
from ui.recording_view import draw_recording, draw_recordings
from ui.replay_view import draw_run_replay
from ui.run_view import draw_cancel, draw_run
from ui.state import open_page, store

LONGEST_HISTORY = 50
LIST_SECONDS, QUIET_SECONDS = 1.0, 3.0
"""Between two looks at the queue, and while some run is timed."""


def draw_list() -> None:
    """Everything that ran, runs or waits."""
    st.title("Runs")
    if not store().runs(limit=1):
        st.info("No runs yet. Choose techniques on the Optimise page and press **Run**.", icon=":material/info:")
        if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="go-optimise"):
            open_page("optimise")
    else:
        draw_runs()
    draw_recordings()


def draw_runs() -> None:
    """The queue, then the history."""
    st.caption(
        "Runs belong to the server: closing the browser stops none. Runs on the same device wait for each other."
    )
    live = [record.id for record in store().runs(states=LIVE)]
    if live:
        st.subheader("Now")
        is_timing = store().is_timing()
        st.fragment(draw_queue, run_every=QUIET_SECONDS if is_timing else LIST_SECONDS)(live, is_timing)
    draw_history()


def draw_queue(expected: list[str], is_timing: bool) -> None:
    """A line for each run that works or waits, with the means to open or cancel it."""
    records = store().runs(states=LIVE)
    if [record.id for record in records] != expected or store().is_timing() != is_timing:
        st.rerun()
    for record in sorted(records, key=lambda each: (each.state == "queued", each.created_at)):
        draw_live_row(record)


def draw_live_row(record: RunRecord) -> None:
    """A run that works or waits."""
    look, since = STATES[record.state], record.started_at or record.created_at
    place = f"{text.escape(tables.model_title(record.recipe.model))} · {record.recipe.device}"
    with st.container(border=True):
        words, buttons = st.columns([3, 1], vertical_alignment="center")
        with words, st.container(horizontal=True, vertical_alignment="center"):
            st.badge(record.state, color=look.colour, icon=look.icon)
            st.markdown(f"**{text.escape(record.title)}** · {place}", width="content")
            st.caption(f"for {duration(time.time() - since)}", width="content")
        with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="xsmall"):
            if st.button("Open", key=f"open-{record.id}", icon=":material/arrow_forward:", type="tertiary"):
                open_page("runs", run=record.id)
            draw_cancel(record)


def draw_history() -> None:
    """What has ended, newest first; a click on a row opens it."""
    records = store().ended(limit=LONGEST_HISTORY)
    if not records:
        return
    st.subheader("History")
    st.caption("Click a row to open the run.")
    chosen = st.dataframe(
        tables.in_units(tables.history(records).assign(state=[[look_of(record)[0]] for record in records]), ["p50_ms"]),
        hide_index=True,
        column_config={
            "state": st.column_config.MultiselectColumn(
                "State",
                options=[*STATES, "not built"],
                color=[look.colour for look in (*STATES.values(), NOT_BUILT)],
                width=95,
            ),
            "title": st.column_config.TextColumn("Variant", width=260),
            "model": st.column_config.TextColumn("Model", width=220),
            "device": "Device",
            "queued": st.column_config.DatetimeColumn("When", format="distance"),
            "took": "Took",
            "accuracy": st.column_config.NumberColumn("Accuracy", format="%.2f %%"),
            "agreement": st.column_config.NumberColumn(
                "Agreement", format="%.2f %%", help="With the untouched network, where test examples have no labels."
            ),
            "p50_ms": st.column_config.NumberColumn("Latency p50", help="Median of one inference."),
        },
        placeholder="",
        on_select="rerun",
        selection_mode="single-cell",
        key="history",
        alt="Runs that have ended",
    )
    if chosen.selection.cells:
        open_page("runs", run=records[chosen.selection.cells[0][0]].id)


if recording := st.query_params.get("recording"):
    draw_recording(recording)
elif run := st.query_params.get("run"):
    draw_run_replay(run) if "replay" in st.query_params else draw_run(run)
else:
    draw_list()
