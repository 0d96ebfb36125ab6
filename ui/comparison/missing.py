"""Runs that a view lacks: which they are, one button that queues them, and how far they are."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from ui import text
from ui.live import STATES, duration
from ui.queue import enqueue_missing, live_runs, why_lost
from ui.state import open_page, store

POLL_SECONDS = 5.0
"""Seldom, since what is waited for is being timed some of the time."""


def draw_missing(recipes: Sequence[Recipe], *, key: str, takes: str = "") -> None:
    """Recipes of which none has finished: those at work with their state, the others with a button that queues them.

    `takes` says beside the button how long that will be. The page is drawn again as soon as one of the runs ends.
    """
    live = live_runs(store(), recipes)
    idle = [recipe for recipe in recipes if recipe.digest not in live]
    for recipe in idle:
        draw_idle(recipe)
    if live:
        st.fragment(draw_at_work, run_every=POLL_SECONDS)([record.id for record in live.values()])
    with st.container(horizontal=True, vertical_alignment="center"):
        draw_buttons(idle, key=key, are_live=bool(live))
        if idle and takes:
            st.caption(takes, width="content")


def draw_buttons(idle: Sequence[Recipe], *, key: str, are_live: bool) -> None:
    """The button that queues what does not run yet, and the way to what does."""
    words = "Run the missing one" if len(idle) == 1 else f"Run the missing {len(idle)}"
    lost = next(filter(None, map(why_lost, idle)), "")
    if idle and st.button(
        words,
        type="primary",
        icon=":material/play_arrow:",
        key=f"run-{key}",
        disabled=bool(lost),
        help=text.escape(lost) or None,
    ):
        enqueue_missing(store(), idle)
        st.rerun()
    if are_live and st.button("Open Runs", icon=":material/arrow_forward:", key=f"runs-{key}"):
        open_page("runs")


def draw_idle(recipe: Recipe) -> None:
    """A recipe that nobody has queued, or what became of it the last time."""
    last = next(iter(store().runs(digest=recipe.digest, limit=1)), None)
    with st.container(horizontal=True, vertical_alignment="center"):
        if last is None:
            st.badge("not run yet", color="gray", icon=":material/radio_button_unchecked:")
        else:
            look = STATES[last.state]
            st.badge(last.state, color=look.colour, icon=look.icon)
        st.markdown(text.escape(recipe.title), width="content")
        if last and last.error:
            st.caption(text.escape(last.error), width="content")


def draw_at_work(run_ids: Sequence[str]) -> None:
    """A line for each run that waits or runs; the whole page again once one of them has ended."""
    records = [store().run(run_id) for run_id in run_ids]
    alive = [record for record in records if record and record.is_live]
    if len(alive) < len(run_ids):
        st.rerun()
    for record in sorted(alive, key=lambda each: (each.state == "queued", each.created_at)):
        draw_line(record)


def draw_line(record: RunRecord) -> None:
    """A run that waits or runs."""
    look, since = STATES[record.state], record.started_at or record.created_at
    words = "running" if record.state == "running" else "in the queue"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(words, color=look.colour, icon=look.icon)
        st.markdown(text.escape(record.title), width="content")
        st.caption(f"for {duration(time.time() - since)}", width="content")
