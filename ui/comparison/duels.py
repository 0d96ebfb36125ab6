"""Two variants against each other in turns: ask for a duel, and see what earlier ones said."""

from __future__ import annotations

import streamlit as st

from experiments.duel import Duel
from experiments.run_record import RunRecord
from ui import text
from ui.comparison.selection import Selection
from ui.live import STATES
from ui.queue import why_lost
from ui.state import open_page, store

MOST_SHOWN = 5
WHAT = (
    "Two runs measured one after the other can differ by what the machine did meanwhile. A duel serves both files, and "
    "the first a second time, and lets them take turns in random order. It takes seconds and says whether the "
    "difference is real."
)


def draw_duels(selection: Selection, *, reference: str, variant: str) -> None:
    """The button for a duel of these two runs, and the newest duels among the variants on screen."""
    st.subheader("Settle it with an A/B duel")
    st.caption(WHAT)
    titles = selection.titles
    with st.container(horizontal=True, vertical_alignment="center"):
        words = f"{text.escape(titles[variant])} against {text.escape(titles[reference])}"
        lost = why_lost(selection.record(variant).recipe)
        if st.button(
            f"Duel: {words}", icon=":material/swords:", key="duel", disabled=bool(lost), help=text.escape(lost) or None
        ):
            open_page("runs", run=store().enqueue_duel(Duel(first=reference, second=variant)))
    shown = [each for each in store().duels(selection.model) if each.duel and _is_among(each.duel, titles)]
    for record in shown[:MOST_SHOWN]:
        draw_duel_line(record, titles)


def _is_among(duel: Duel, titles: dict[str, str]) -> bool:
    return duel.first in titles and duel.second in titles


def draw_duel_line(record: RunRecord, titles: dict[str, str]) -> None:
    """What a duel said, or how far it is, with the way to it."""
    assert record.duel
    result = store().duel_result(record.id) if record.state == "finished" else None
    with st.container(horizontal=True, vertical_alignment="center"):
        look = STATES[record.state]
        st.badge(record.state, color=look.colour, icon=look.icon)
        words = f"**{text.escape(titles[record.duel.second])}** against {text.escape(titles[record.duel.first])}"
        verdict = f": {text.escape(result.sentence)}" if result else ""
        st.markdown(f"{words}{verdict} :small[:gray[{text.ago(record.created_at)}]]", width="content")
        st.space("stretch")
        if st.button("Open", key=f"duel-{record.id}", icon=":material/arrow_forward:", type="tertiary"):
            open_page("runs", run=record.id)
