"""Accuracy against how much was pruned: cut at once, and of every finished run that differs only in that."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.judging import Judging
from core.pruning import PruningReport
from experiments.checking import why_refused
from experiments.judging import of_record
from experiments.models import is_here
from experiments.pruning import (
    STEP,
    Bend,
    bend_of,
    holds,
    missing_ratios,
    runs_table,
    scan_table,
    siblings,
    with_start,
)
from experiments.references import baseline_of
from experiments.result import Summary
from experiments.run_record import RunRecord
from ui import tables
from ui.figures.frame import PLAIN
from ui.figures.pruning_curves import Curves, curves
from ui.queue import enqueue_missing, is_known, live_runs
from ui.state import colours, open_page, store

MOST_RUNS = 500
"""Finished runs of the model among which those that differ only in how much they prune are looked for."""
FEWEST_RUNS = 4
"""With so many the knee is that of the finished runs; with fewer that of the scan."""
FEWEST_POINTS = 3
AXES = {"ratio": "Pruning ratio", "macs_left": "MACs left"}
COLUMNS: dict[str, Any] = {
    "what": "What",
    "ratio": st.column_config.NumberColumn("Ratio", format="%.2f"),
    "macs": st.column_config.NumberColumn("MACs", format="%,d"),
    "macs_left": st.column_config.NumberColumn("MACs left", format="%.1f %%"),
    "accuracy": st.column_config.NumberColumn(format="%.2f %%"),
    "low": st.column_config.NumberColumn("95 % from", format="%.2f %%"),
    "high": st.column_config.NumberColumn("to", format="%.2f %%"),
    "images": st.column_config.NumberColumn("Images", format="%,d"),
}


def columns_for(judging: Judging) -> dict[str, Any]:
    """The columns of the table of points."""
    return COLUMNS | {
        "accuracy": st.column_config.NumberColumn(judging.title, format="%.2f %%"),
        "images": st.column_config.NumberColumn(judging.unit.capitalize(), format="%,d"),
    }


def draw_curve(report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None:
    """The curve, its knee in words, the missing ratios and the table."""
    records = siblings(record.recipe, store().runs(states=("finished",), model=record.recipe.model, limit=MOST_RUNS))
    known = known_curves(report, record, records)
    along, zoomed = draw_switches(record, has_both=bool(len(known.scan)) and bool(len(known.runs)))
    of_runs = len(known.runs) >= FEWEST_RUNS
    judged = with_start(known.runs, baseline_summary(record)) if of_runs else known.scan
    bend = bend_of(judged, along)
    st.markdown(bend_in_words(bend, judged, known.judging, of_runs=of_runs))
    figure = curves(known, bend, along=along, zoomed=zoomed, colours=colours(records), colour=colour, ink=ink)
    words = f"{known.judging.title} against how much was pruned"
    st.plotly_chart(figure, key=f"pruning.curve.{record.id}", config=PLAIN, alt=words)
    st.caption(conditions(report, known))
    draw_missing_ratios(record)
    with st.expander("Points as a table", key=f"pruning.curve-table.{record.id}"):
        table = points(known)
        st.dataframe(table, hide_index=True, column_config=columns_for(known.judging), alt=f"{words}, as a table")
        st.download_button(
            "Download CSV", tables.to_csv(table), f"{known.judging.noun}-against-ratio-{record.id}.csv", "text/csv",
            icon=":material/download:", key=f"pruning.curve-csv.{record.id}", on_click="ignore",
        )  # fmt: skip


def known_curves(report: PruningReport, record: RunRecord, records: list[RunRecord]) -> Curves:
    """What is known of accuracy against the ratio; of this recipe the run on the page, not the newest."""
    records = [record if each.recipe.digest == record.recipe.digest else each for each in records]
    results = store().results([each.id for each in records if each.id != record.id])
    reports = {run_id: result.pruning for run_id, result in results.items()} | {record.id: report}
    found = [(each, known) for each in records if (known := reports.get(each.id))]
    runs = runs_table(found)
    digests = {each.id: each.recipe.digest for each in records}
    baseline = baseline_summary(record)
    accuracy = baseline.accuracy if baseline else None
    runs = runs.assign(digest=runs.run_id.map(digests))
    return Curves(scan_table(report), runs, accuracy, record.id, of_record(record))


def baseline_summary(record: RunRecord) -> Summary | None:
    """The numbers of the untouched model's newest run; None where it has not finished."""
    baseline = store().finished_before(baseline_of(record.recipe))
    return baseline.summary if baseline else None


def draw_switches(record: RunRecord, *, has_both: bool) -> tuple[str, bool]:
    """What the axis shows, and whether the chart is as high as the finished runs alone."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        along = st.segmented_control(
            "Along", list(AXES), default="ratio", required=True, format_func=AXES.__getitem__,
            key=f"pruning.along.{record.id}",
        )  # fmt: skip
        zoomed = has_both and st.toggle(
            "Zoom to the finished runs", key=f"pruning.zoom.{record.id}",
            help=f"{of_record(record).title} before fine-tuning falls far below; without it small differences show.",
        )  # fmt: skip
    return str(along), bool(zoomed)


def bend_in_words(bend: Bend | None, curve: pd.DataFrame, judging: Judging, *, of_runs: bool) -> str:
    """What the knee tells, as markdown."""
    subject = "fine-tuned" if of_runs else "cut at once and not fine-tuned"
    if len(curve) < FEWEST_POINTS:
        return "Too few ratios are known for a curve: run more of them below."
    if bend is None and holds(curve):
        return f"Over these ratios the network ({subject}) loses no {judging.noun} that could be told from chance."
    if bend is None:
        return f"No knee: the {judging.noun} of the network ({subject}) falls from the first of these ratios on."
    lost = "nothing" if bend.points_before < 0.005 else f"{bend.points_before:.2f} points"
    return (
        f"Up to **{bend.ratio:g}** the network ({subject}) loses {lost}; beyond it every further {STEP:g} of the "
        f"channels costs **{bend.points_per_step:.1f} points** on average."
    )


def conditions(report: PruningReport, known: Curves) -> str:
    """On what each of the two was judged."""
    unit = known.judging.unit
    scan = (
        f"Dotted: cut at once at each ratio, without fine-tuning, on {report.scan[0].images:,} calibration {unit}. "
        if report.scan
        else "This run did not try ratios without fine-tuning. "
    )
    return (
        f"{scan}Discs: {len(known.runs)} finished {'run' if len(known.runs) == 1 else 'runs'} of this recipe that "
        f"differ only in how much they prune, measured on the test {unit}; this one has a ring. Whiskers: 95 % "
        "intervals (Wilson). The knee is the point farthest above the line between both ends, both axes normalised "
        "(Satopää et al. 2011), where that is more than chance steps would give."
    )


def draw_missing_ratios(record: RunRecord) -> None:
    """The button that queues the ratios of the ladder that nobody has run, and how many are under way."""
    if not is_here(record.recipe.model):
        return
    missing = {
        ratio: recipe
        for ratio, recipe in missing_ratios(record.recipe, lambda each: is_known(store(), each)).items()
        if not why_refused(recipe)
    }
    waiting = [each for each in live_runs_of(record) if each.id != record.id]
    with st.container(horizontal=True, vertical_alignment="center"):
        if missing and st.button(
            "Run the missing ratios", icon=":material/play_arrow:", key=f"pruning.ladder.{record.id}",
            help="This recipe at each of them, measured in full.",
        ):  # fmt: skip
            enqueue_missing(store(), missing.values())
            st.rerun()
        if missing:
            names = ", ".join(f"{ratio:g}" for ratio in missing)
            st.caption(f"{len(missing)} {'run' if len(missing) == 1 else 'runs'}: {names}.", width="content")
        if waiting:
            st.caption(f"{len(waiting)} of these runs wait or run.", width="content")
            if st.button("Open Runs", icon=":material/arrow_forward:", key=f"pruning.ladder-runs.{record.id}"):
                open_page("runs")


def live_runs_of(record: RunRecord) -> list[RunRecord]:
    """Runs of the ladder's recipes that wait or run."""
    ladder = missing_ratios(record.recipe, lambda _: False)
    return list(live_runs(store(), ladder.values()).values())


def points(known: Curves) -> pd.DataFrame:
    """Both curves as one table; shares in per cent."""
    scan = known.scan.assign(what="cut at once, not fine-tuned")
    both = pd.concat([scan, known.runs.assign(what=known.runs.title)], ignore_index=True)
    return both.assign(**{name: 100 * both[name] for name in ("macs_left", "accuracy", "low", "high")})[list(COLUMNS)]
