"""Who pays: the images whose answer changed, as pictures, the classes that lost, and the stage that did it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.errors import StudioError
from experiments.flips import Flips, StagesOfFlips
from experiments.measures import NO_DIFFERENCE
from experiments.run_record import RunRecord
from profiling.statistics import SIGNIFICANCE
from ui import tables, text
from ui.comparison.by_class import draw_classes
from ui.comparison.case import Case, case_of
from ui.comparison.pictures import draw_pictures
from ui.comparison.selection import Selection
from ui.comparison.stages import draw_stages

SMALLEST_P = 0.001
"""Written out; below it, nobody reads the digits."""
WHAT_IT_SHOWS = (
    "{title} shows only the difference between what was lost and what was gained. Every changed answer is a person "
    "who gets another one than yesterday."
)


def draw(selection: Selection) -> None:
    """Two variants image by image, then all variants class by class."""
    if len(selection.records) < 2:
        st.info("Choose a second variant above, to see which images it answers otherwise.", icon=":material/info:")
        return
    before, after = draw_choice(selection)
    try:
        case = case_of(selection, before, after)
        with st.grid(2, min_column_width=420):
            draw_sentences(selection, case)
            found = draw_stages(case, ink=selection.ink)
        draw_pictures(case, found)
        draw_table(case, found, selection)
        draw_classes(selection, case)
    except StudioError as error:
        st.warning(text.escape(str(error)), icon=":material/warning:")


def draw_choice(selection: Selection) -> tuple[RunRecord, RunRecord]:
    """What is compared with what: the baseline, and the variant that lost most, unless the person says otherwise."""
    titles = selection.titles
    base = selection.baseline
    candidates = [run_id for run_id in titles if base is None or run_id != base.run_id]
    points = selection.frame.set_index("run_id").accuracy_points[candidates]
    start = str(points.idxmin()) if points.notna().any() else candidates[0]
    variant_column, other_column = st.columns(2)
    after = variant_column.selectbox("Variant", list(titles), list(titles).index(start),
        format_func=titles.__getitem__, key="pays.after")  # fmt: skip
    others = [run_id for run_id in titles if run_id != after]
    before = other_column.selectbox("Compared with", others, format_func=titles.__getitem__, key=f"pays.before.{after}")
    return selection.record(before), selection.record(after)


def draw_sentences(selection: Selection, case: Case) -> None:
    """How many images changed their answer, and whether accuracy differs."""
    titles = selection.titles
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{text.escape(titles[case.after.id])}** against **{text.escape(titles[case.before.id])}**")
        st.markdown(text.escape(case.flips.sentence))
        st.markdown(accuracy_sentence(case.flips))
        st.caption(WHAT_IT_SHOWS.format(title=selection.judging.title))


def accuracy_sentence(flips: Flips) -> str:
    """Whether accuracy differs, by McNemar's exact test, as markdown."""
    total, lost, gained = len(flips.split), len(flips.right_to_wrong), len(flips.wrong_to_right)
    was_right = int(flips.split.is_correct(flips.before.predictions).sum())
    shares = f"{text.share(was_right / total)} → {text.share((was_right - lost + gained) / total)}"
    verdict = NO_DIFFERENCE
    if flips.p_value < SIGNIFICANCE:
        verdict = f":{'green' if gained > lost else 'red'}[**{100 * (gained - lost) / total:+.2f} points**]"
    p_value = f"p = {flips.p_value:.2g}" if flips.p_value >= SMALLEST_P else f"p < {SMALLEST_P}"
    return f"{flips.judging.title} {shares}: {verdict} (McNemar's exact test, {p_value})."


def draw_table(case: Case, found: StagesOfFlips | None, selection: Selection) -> None:
    """All flips as a table."""
    judging = case.flips.judging
    table = case.flips.table([*case.names])
    if found is not None:
        table.insert(2, "stage", table.image.map(found.stage).fillna(""))
    with st.expander(f"Changed answers as a table ({len(table):,})", key="pays.table", icon=":material/table:"):
        share: dict[str, Any] = {"format": "percent", "min_value": 0, "max_value": 1}
        st.dataframe(
            table, hide_index=True, alt="All changed answers",
            column_config={
                "image": st.column_config.NumberColumn(
                    judging.example.capitalize(), format="%d", help="Position in the test set."
                ),
                "kind": "Change", "stage": "Stage", "target": judging.target, "before": "Before", "after": "After",
                "confidence_before": st.column_config.ProgressColumn("Sure before", **share),
                "confidence_after": st.column_config.ProgressColumn("Sure after", **share),
            },
        )  # fmt: skip
        st.download_button(
            "Download CSV", tables.to_csv(table), f"{selection.model}-flips.csv", "text/csv",
            icon=":material/download:", key="pays.csv", on_click="ignore",
        )  # fmt: skip
