"""A study on screen: the button that asks for it, and its progress until it is done."""

from __future__ import annotations

import streamlit as st

from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.study import Study
from ui import text
from ui.live import LiveView
from ui.run_body import draw_progress
from ui.run_view import draw_cancel, why_queued
from ui.state import open_page, store

POLL_SECONDS = 0.5
QUIET_SECONDS = 1.5
"""Between two looks while something is timed."""


def last_failure(study: Study, recipe: Recipe) -> RunRecord | None:
    """The newest run of exactly this study, where it failed."""
    runs = store().studies(study, recipe)
    return runs[0] if runs and runs[0].state == "failed" else None


def draw_request(study: Study, recipe: Recipe, *, label: str, key: str, help: str, primary: bool = True) -> None:
    """The button that queues the study; what came of the last one if that failed."""
    if failed := last_failure(study, recipe):
        st.error(text.escape(failed.error or "It failed without a word."), icon=":material/error:")
    if st.button(label, type="primary" if primary else "secondary", icon=":material/play_arrow:", key=key, help=help):
        store().enqueue_study(study, recipe)
        st.rerun()


def draw_work(record: RunRecord) -> None:
    """Progress of a study that waits or runs, with the way to stop it; the page is drawn anew once it has ended."""
    st.fragment(_draw_work, run_every=QUIET_SECONDS if store().is_timing() else POLL_SECONDS)(record.id)


def _draw_work(run_id: str) -> None:
    record = store().run(run_id)
    if record is None or not record.is_live:
        st.rerun()
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(gap="xsmall"):
            st.markdown(f"**{text.escape(record.title)}**")
            if record.state == "queued":
                st.caption(why_queued(record, record))
            else:
                view = LiveView()
                view.add(store().events(run_id, kinds=("planned", "phase", "progress", "note")))
                draw_progress(view)
        draw_cancel(record)
        if st.button("Open the run", key=f"open-{run_id}", icon=":material/arrow_forward:", type="tertiary"):
            open_page("runs", run=run_id)
