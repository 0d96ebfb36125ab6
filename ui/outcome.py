"""What came of a run: its numbers with their differences to the baseline, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
import streamlit as st

from core.progress import Note
from experiments.compare import DISTURBED, against_baseline, doubted, latency_verdict, variants
from experiments.judging import of_record, of_row
from experiments.measures import NO_DIFFERENCE
from experiments.references import baseline_of, baseline_title, reference_of
from experiments.reproduction import reproduction
from experiments.result import RunResult
from experiments.resuming import can_resume
from experiments.run_record import RunRecord
from experiments.study import ScanStudy
from profiling.fidelity import Fidelity
from ui import tables, text
from ui.ahead_view import draw_ahead
from ui.details import draw_details
from ui.distillation_view import draw_distillation
from ui.duel_view import draw_duel
from ui.every_runtime_view import draw_every_runtime
from ui.findings_view import draw_findings
from ui.low_rank_view import draw_low_rank
from ui.profile.choice import address_of
from ui.pruning_view import draw_pruning
from ui.quantization_view import draw_quantization
from ui.simulated_view import draw_simulation
from ui.sparsity_view import draw_sparsity
from ui.state import colours, open_page, store
from ui.tflite_view import draw_tflite
from ui.training_view import draw_training

MOST_REPETITIONS = 100
"""Runs of one recipe among which the one before is looked for."""


def draw_outcome(record: RunRecord, notes: Sequence[Note] = ()) -> None:
    """The numbers of a finished run with the facts noted on the way; the reason of another."""
    if record.state == "finished" and record.study:
        draw_study(record)
    elif record.state == "finished" and record.duel:
        draw_duel(record)
    elif record.simulated:
        draw_simulation(record)
    elif record.ahead:
        draw_ahead(record)
    elif record.state == "finished":
        draw_metrics(record, notes)
    elif record.state == "failed":
        st.error(text.escape(record.error or "It failed without a word."), icon=":material/error:")
    elif record.state == "cancelled":
        kept = "Nothing was kept"
        if can_resume(record):
            kept = "What was trained up to the last checkpoint is kept: **Resume** goes on from there"
        st.info(f"Cancelled. {kept}; **Run again** starts it anew.", icon=":material/cancel:")


def draw_study(record: RunRecord) -> None:
    """The way to the page that shows what a study found."""
    is_scan = isinstance(record.study, ScanStudy)
    st.success(
        "The Profile page shows what it found." if is_scan else "The Profile page shows it, section by section.",
        icon=":material/check_circle:",
    )
    if st.button("Open it", type="primary", icon=":material/speed:", key="open-profile"):
        open_page("profile", **address_of(record), **({"section": "Sensitivity"} if is_scan else {}))


def draw_metrics(record: RunRecord, notes: Sequence[Note]) -> None:
    """The headline numbers with their differences to the baseline, what was found besides, and the way on."""
    baseline = None if record.recipe.is_baseline else store().finished_before(baseline_of(record.recipe))
    records = [each for each in (baseline, record) if each]
    results = store().results([each.id for each in records])
    row, result = against_baseline(variants(records), results).iloc[-1], results[record.id]
    judging, (low, high) = result.accuracy.judging, result.accuracy.interval
    differs = baseline is not None
    with st.container(horizontal=True, key="metrics"):
        metric(
            judging.title, text.share(row.accuracy), row.accuracy_verdict, good="+", differs=differs,
            help=f"{judging.counted(row.correct, row.total)}; 95 % interval {100 * low:.2f} to "
            f"{text.share(high)}.",
        )  # fmt: skip
        metric(
            "Latency p50", text.fine_milliseconds(row.p50_ms), row.latency_verdict, good="faster", differs=differs,
            help=f"Median of {len(result.latency.samples_ms):,} calls at batch size {row.batch_size}; "
            + (f"p95 {text.fine_milliseconds(row.p95_ms)}." if pd.notna(row.p95_ms) else "too few calls for p95."),
        )  # fmt: skip
        draw_throughput(row)
        metric(
            "File size", text.data_size(row.size_bytes), tables.ratio_in_words(row.size_ratio), good="smaller",
            differs=differs, help=f"Compressed {text.data_size(row.gzip_bytes)}.",
        )  # fmt: skip
        metric(
            "Memory", text.data_size(row.memory_bytes), tables.ratio_in_words(row.memory_ratio), good="smaller",
            differs=differs, help=f"{result.memory.headline_label.capitalize()}.",
        )  # fmt: skip
        metric("MACs", text.count(row.macs), tables.ratio_in_words(row.macs_ratio), good="smaller", differs=differs)
    draw_reference(record, differs=differs)
    draw_reproduction(record, result)
    if result.fidelity:
        draw_fidelity(result.fidelity)
    if result.disturbances:
        why = text.escape("; ".join(result.disturbances))
        st.warning(f"The timing was disturbed: {why}. Run it again on a quiet machine before you trust it.")
    draw_findings(record, notes)
    colour = colours([record])[record.recipe.digest]
    if result.training:
        draw_training(result.training, judging, colour=colour)
    draw_details(result, colour=colour)
    with st.container(horizontal=True):
        if st.button("Compare", type="primary", icon=":material/bar_chart:", key="compare"):
            open_page("compare", model=record.recipe.model)
        if st.button("Truth matrix", icon=":material/fact_check:", key="truth"):
            open_page("truth", model=record.recipe.model)
        if st.button("Export", icon=":material/package_2:", key="export"):
            open_page("export", run=record.id)
    if result.distillation:
        draw_distillation(result.distillation, record)
    if result.pruning:
        draw_pruning(result.pruning, record)
    if result.low_rank:
        draw_low_rank(result.low_rank, record)
    if result.sparsity:
        draw_sparsity(result.sparsity, record)
    if result.quantization:
        draw_quantization(result.quantization, record)
    if result.tflite:
        draw_tflite(result.tflite, result, record)
    draw_every_runtime(record)


def draw_throughput(row: pd.Series[Any]) -> None:
    """Images or texts a second at the batch size compared and, below it, at the best one."""
    swept = pd.notna(row.best_throughput_per_s)
    best = f"{row.best_throughput_per_s:,.0f} at batch {row.best_batch_size:.0f}" if swept else "not swept"
    st.metric(
        "Throughput", f"{row.throughput_per_s:,.0f} {of_row(row).unit}/s", best, delta_color="gray", delta_arrow="off",
        border=True, height="stretch",
        help=f"At batch size {row.batch_size}; below it the highest over all batch sizes tried.",
    )  # fmt: skip


def metric(label: str, value: str, change: str, *, good: str, differs: bool, help: str | None = None) -> None:
    """A number with its difference to the baseline: green where better, red where worse, grey where neither is sure."""
    change = change if differs and isinstance(change, str) and change else ""
    neutral = change in (NO_DIFFERENCE, tables.SAME) or change.endswith(DISTURBED)
    colour: Literal["gray", "green", "red"] = "gray"
    if change and not neutral:
        colour = "green" if good in change else "red"
    st.metric(
        label, value, change or None, delta_color=colour, delta_arrow="off", help=help, border=True, height="stretch"
    )


def draw_reproduction(record: RunRecord, result: RunResult) -> None:
    """Whether the recipe gave the same numbers as the last time it ran."""
    runs = store().runs(states=("finished",), digest=record.recipe.digest, limit=MOST_REPETITIONS)
    before = next((each for each in runs if each.created_at < record.created_at), None)
    earlier = store().result(before.id) if before else None
    if earlier and before and earlier.accuracy.total == result.accuracy.total:
        found = reproduction(result, earlier)
        colour, icon = ("green", "check_circle") if found.holds else ("orange", "difference")
        st.markdown(
            f":{colour}[:material/{icon}:] {text.escape(found.sentence)} :small[:gray[{text.ago(before.created_at)}]]"
        )


def draw_fidelity(found: Fidelity) -> None:
    """Whether the export still is the same model and, where it is not, since which layer."""
    colour, icon = ("orange", "difference") if found.differs else ("green", "fact_check")
    first = f" {found.divergence.verdict}" if found.differs and found.divergence else ""
    st.markdown(f":{colour}[:material/{icon}:] {text.escape(found.verdict + first)}")


def draw_reference(record: RunRecord, *, differs: bool) -> None:
    """What the differences are relative to, and how the techniques do against the same runtime without them."""
    if not differs:
        if not record.recipe.is_baseline:
            named = baseline_title(record.recipe.model)
            st.caption(f"Differences appear once the baseline ({named}) has finished on this device.")
        return
    words = f"Differences are to the baseline: {baseline_title(record.recipe.model)}, measured the same way."
    if not of_record(record).has_labels:
        words += " The test examples have no labels, so that it agrees with itself on all of them."
    reference = store().finished_before(reference_of(record.recipe)) if record.recipe.techniques else None
    if reference and not reference.recipe.is_baseline:
        ours, theirs = variants([record]).iloc[0], variants([reference]).iloc[0]
        ratios = (
            theirs.p50_ms / ours.p50_ms,
            theirs.p50_low_ms / ours.p50_high_ms,
            theirs.p50_high_ms / ours.p50_low_ms,
        )
        verdict = doubted(latency_verdict(*ratios), ours, theirs)
        words += f" Against FP32 in the same runtime ({text.fine_milliseconds(theirs.p50_ms)}): {verdict}."
    st.caption(words)
