"""What came of a duel: the verdict, its figures, and every round."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from experiments.duel import DuelResult
from experiments.run_record import RunRecord
from ui import text
from ui.figures.duel import rounds
from ui.figures.frame import PLAIN
from ui.state import colours, ink, open_page, store

COLOURS = {"faster": "green", "slower": "red"}
HOW = (
    "Three processes took turns, in random order within each round: the first, a copy of it as the control, and the "
    "second. All three were started afresh several times, because a process keeps the memory layout it began with. "
    "Only a difference whose 95 % interval excludes 1, that exceeds 3 %, and that exceeds what two copies of the same "
    "file show, is called one."
)


def draw_duel(record: RunRecord) -> None:
    """A finished duel."""
    result = store().duel_result(record.id)
    if result is None or record.duel is None:
        return
    first = store().run(record.duel.first)
    against = text.escape(first.recipe.title) if first else "a run that was deleted"
    draw_verdict(result, second=record.recipe.title, against=against)
    tint = colours([record])[record.recipe.digest]
    with st.container(border=True):
        figure = rounds(result, record.recipe.title, colour=tint, ink=ink())
        st.plotly_chart(figure, key=f"duel-{record.id}", config=PLAIN, alt="Ratio in each round")
        st.caption(HOW)
    with st.expander("Every round", key="duel-rounds", icon=":material/table:"):
        st.dataframe(table(result), hide_index=True, alt="Every round")
    if st.button("Compare", type="primary", icon=":material/bar_chart:", key="compare"):
        open_page("compare", model=record.recipe.model)


def draw_verdict(result: DuelResult, *, second: str, against: str) -> None:
    """The verdict in words; `against` is markdown."""
    colour = COLOURS.get(result.verdict, "gray")
    st.markdown(f"**{text.escape(second)}** against **{against}**: :{colour}[**{text.escape(result.sentence)}**]")
    control = result.a_over_a
    st.caption(
        f"{len(result.rounds)} rounds at batch size {result.batch_size}. Two copies of the first: "
        f"{control.value:.3f}x, 95 % interval {control.low:.3f} to {control.high:.3f}; so a difference had to exceed "
        f"{100 * (result.smallest_ratio - 1):.1f} %."
    )
    if result.is_contended:
        st.warning("Other work on this machine took processor time from the duel, which widens its intervals.")


def table(result: DuelResult) -> pd.DataFrame:
    """A row for each round: the medians in ms, and who came when."""
    names = {"first": "First", "control": "Control", "second": "Second"}
    rows = [
        (number, each.first_ms, each.control_ms, each.second_ms, " → ".join(names[role] for role in each.order))
        for number, each in enumerate(result.rounds, start=1)
    ]
    return pd.DataFrame(rows, columns=["Round", "First, ms", "Control, ms", "Second, ms", "Order"])
