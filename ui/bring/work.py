"""Jobs on screen: what is being read or added, with progress and a way to stop it, and what came of it."""

from __future__ import annotations

import streamlit as st

from experiments.jobs import AddOrder, CheckOrder, Job, cancel, forget, jobs
from experiments.store import StoredEvent
from ui import text
from ui.identity import owner
from ui.live import LiveView
from ui.run_body import draw_progress
from ui.state import open_page

POLL_SECONDS = 0.5
STATE = st.session_state


def title_of(job: Job) -> str:
    """What is being done, in a few words."""
    if isinstance(job.order, AddOrder):
        return f"Adding {job.order.title}"
    if isinstance(job.order, CheckOrder):
        return f"Reading {job.order.name or 'the uploaded file'}"
    return "Looking up the architecture"


def view_of(job: Job) -> LiveView:
    """Its events as the live view of a run takes them."""
    view = LiveView()
    view.add([StoredEvent(number, event) for number, event in enumerate(job.events)])
    return view


def take_finished() -> None:
    """Choose what was just uploaded, now that it is read."""
    for job in jobs(owner()):
        if isinstance(job.order, CheckOrder) and job.state == "finished":
            STATE["bring.file" if job.order.wanted == "model" else "bring.data"] = job.result["item"]
            forget(owner(), job.id)
        elif job.state == "cancelled":
            forget(owner(), job.id)


def draw_jobs() -> None:
    """Everything at work or just ended; the page is drawn anew when one of them ends."""
    if found := shown():
        live = [job.id for job in found if job.state == "running"]
        st.fragment(_draw_jobs, run_every=POLL_SECONDS if live else None)(live)


def shown() -> list[Job]:
    """The jobs that have a place of their own on the page."""
    return [job for job in jobs(owner()) if job.order.kind != "describe" and job.state != "cancelled"]


def _draw_jobs(live: list[str]) -> None:
    found = shown()
    if live != [job.id for job in found if job.state == "running"]:
        st.rerun()
    for job in found:
        with st.container(border=True):
            _draw(job)


def _draw(job: Job) -> None:
    if job.state == "running":
        draw_running(job)
    elif job.state == "failed":
        st.markdown(f"**{text.escape(title_of(job))}**")
        draw_refusal(job.sentence, job.snippet)
        _draw_dismiss(job)
    else:
        _draw_added(job)


def draw_running(job: Job) -> None:
    """Its progress, and a button that ends it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(gap="xsmall"):
            st.markdown(f"**{text.escape(title_of(job))}**")
            draw_progress(view_of(job))
        if st.button("Cancel", key=f"cancel-{job.id}", icon=":material/close:"):
            cancel(owner(), job.id)
            st.rerun()


def draw_refusal(sentence: str, snippet: str) -> None:
    """Why something is not taken and, where there is a way, the lines that convert it."""
    st.error(text.escape(sentence), icon=":material/block:")
    if snippet:
        st.caption("Run this where the file was made, and upload what it writes:")
        st.code(snippet, language="python")


def _draw_added(job: Job) -> None:
    assert isinstance(job.order, AddOrder)
    key = str(job.result["model"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":green[:material/check_circle:] **{text.escape(job.order.title)}** was added.")
        if st.button("Optimise this model", key=f"optimise-{job.id}", type="primary", icon=":material/tune:"):
            forget(owner(), job.id)
            open_page("optimise", model=key)
        if st.button("Profile this model", key=f"profile-{job.id}", icon=":material/speed:"):
            forget(owner(), job.id)
            open_page("profile", model=key)
        _draw_dismiss(job)


def _draw_dismiss(job: Job) -> None:
    if st.button("Dismiss", key=f"dismiss-{job.id}", type="tertiary", icon=":material/close:"):
        forget(owner(), job.id)
        st.rerun(scope="app")
