"""How a network came to its width: the rounds of cutting and fine-tuning, and the search for a target."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.judging import Judging
from core.pruning import PruningReport, Round, Search
from experiments.every_runtime import Place, table
from experiments.judging import of_record
from experiments.references import reference_of
from experiments.run_record import RunRecord
from profiling.statistics import wilson_interval
from ui import text
from ui.figures.frame import PLAIN
from ui.figures.pruning_curves import rounds, search
from ui.state import store

TARGETS = {"macs": "fewer multiply-accumulates", "latency": "the speed of the unpruned network"}
ROUND_COLUMNS: dict[str, Any] = {
    "round": "Round",
    "ratio": st.column_config.NumberColumn("Channels gone", format="%.1f %%"),
    "macs": st.column_config.NumberColumn("MACs", format="%,d"),
    "after_cut": st.column_config.NumberColumn("After the cut", format="%.2f %%"),
    "after_tuning": st.column_config.NumberColumn("After fine-tuning", format="%.2f %%"),
    "images": st.column_config.NumberColumn("Images", format="%,d"),
}
SEARCH_COLUMNS: dict[str, Any] = {
    "number": "Try",
    "ratio": st.column_config.NumberColumn("Ratio", format="%.3f"),
    "value": st.column_config.NumberColumn("Found", format="%.2fx"),
    "is_taken": st.column_config.CheckboxColumn("Taken"),
}


def draw_rounds(report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None:
    """Accuracy around every cut."""
    judging = of_record(record)
    st.markdown(text.escape(rounds_in_words(report.rounds, judging)))
    figure = rounds(report.rounds, judging, colour=colour, ink=ink)
    st.plotly_chart(figure, key=f"pruning.rounds.{record.id}", config=PLAIN, alt=f"{judging.title} around every cut")
    st.caption(
        f"On {report.rounds[0].images:,} calibration {judging.unit}, which neither training nor the test saw. "
        "Whiskers: 95 % intervals (Wilson)."
    )
    with st.expander("Rounds as a table", key=f"pruning.rounds-table.{record.id}"):
        st.dataframe(rounds_table(report.rounds), hide_index=True, column_config=ROUND_COLUMNS, alt="Rounds")


def rounds_in_words(done: tuple[Round, ...], judging: Judging) -> str:
    """What the last round left, beside the first."""
    last = done[-1]
    count = f"{len(done)} rounds" if len(done) > 1 else "One round"
    cut = f"{100 * last.correct_after_cut / last.images:.2f} %"
    if last.correct_after_tuning is None:
        return f"{count}, without fine-tuning: {cut} {judging.right} after the last cut."
    tuned, low, high = (
        100 * value
        for value in (last.correct_after_tuning / last.images, *wilson_interval(last.correct_after_tuning, last.images))
    )
    return (
        f"{count} of cutting and fine-tuning: {cut} {judging.right} after the last cut, {tuned:.2f} % after "
        f"fine-tuning (95 % interval {low:.2f} to {high:.2f})."
    )


def rounds_table(done: tuple[Round, ...]) -> pd.DataFrame:
    """One row a round; shares in per cent."""
    rows = [
        (
            number, 100 * each.ratio, each.macs, 100 * each.correct_after_cut / each.images,
            None if each.correct_after_tuning is None else 100 * each.correct_after_tuning / each.images, each.images,
        )
        for number, each in enumerate(done, start=1)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(ROUND_COLUMNS))


def draw_search(report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None:
    """The tried ratios, what each gave, and what the finished network is."""
    assert report.search
    st.markdown(text.escape(search_in_words(report, record)))
    figure = search(report.search, colour=colour, ink=ink)
    st.plotly_chart(
        figure, key=f"pruning.search.{record.id}", config=PLAIN, alt="Ratios tried on the way to the target"
    )
    st.caption(
        "Numbers: the order in which ratios were tried, the one taken, which has a ring, last."
        + " Speed was timed briefly, before fine-tuning, in turns with the unpruned network."
        * (report.search.target == "latency")
    )
    with st.expander("Tried ratios as a table", key=f"pruning.search-table.{record.id}"):
        st.dataframe(search_table(report.search), hide_index=True, column_config=SEARCH_COLUMNS, alt="Tried ratios")


def search_table(found: Search) -> pd.DataFrame:
    """One row a try."""
    last = len(found.points)
    rows = [(at, point.ratio, point.value, at == last) for at, point in enumerate(found.points, start=1)]
    return pd.DataFrame(rows, columns=list(SEARCH_COLUMNS))


def search_in_words(report: PruningReport, record: RunRecord) -> str:
    """`Wanted 2x the speed, found 1.97x in the search at ratio 0.55, measured 2.03x (95 % ...) in this run.`"""
    assert report.search
    found = report.search
    taken = found.points[-1]
    words = (
        f"Wanted {found.wanted:g}x {TARGETS.get(found.target, '')}, found {taken.value:.2f}x in the search at ratio "
        f"{taken.ratio:.3g}"
    )
    return f"{words}, {measured_in_words(report, record)}."


def measured_in_words(report: PruningReport, record: RunRecord) -> str:
    """What this run measured of the search's target."""
    assert report.search
    if report.search.target != "latency":
        return f"and the finished network has {report.macs_before / report.macs_after:.2f}x fewer"
    reference = store().finished_before(reference_of(record.recipe))
    row = table([Place(record.recipe.runtime, record.recipe, record, reference, "")]).iloc[0]
    if row.state != "measured":
        return "not measured yet against the untouched model, whose run in this runtime has not finished"
    if pd.isna(row.speedup_low):
        return f"measured {row.speedup:.2f}x in this run ({row.verdict})"
    return (
        f"measured {row.speedup:.2f}x (95 % interval {row.speedup_low:.2f} to {row.speedup_high:.2f}) in this run, "
        f"against the untouched model in the same runtime"
    )
