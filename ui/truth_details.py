"""One cell of the truth matrix in full: its verdict, its figures, and the first layer that differs."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from core.bundle import precision_title
from core.divergence import Divergence
from experiments.compare import DISTURBED
from experiments.every_runtime import TOO_FEW
from experiments.measures import NO_DIFFERENCE
from experiments.models import baseline_runtime
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.truth import Cell, Matrix
from experiments.truth_words import speed
from optimizers import TECHNIQUES
from profiling.fidelity import Fidelity
from runtimes import RUNTIMES
from runtimes.compiling import QUANTIZED
from ui import tables, text, truth_texts
from ui.figures import truth as figures
from ui.figures.frame import PLAIN
from ui.queue import enqueue, enqueue_missing, live_runs, why_lost
from ui.simulated_view import draw_metric
from ui.state import ink, is_dark, open_page, store
from ui.truth_texts import STATE_WORDS

BADGES = {
    "same": ("green", "check_circle"), "within": ("orange", "adjust"), "differs": ("red", "cancel"),
    "trained since": ("blue", "school"),
    "not compared": ("gray", "help"), "built ahead": ("blue", "memory"), "running": ("blue", "play_circle"),
    "queued": ("gray", "schedule"), "failed": ("red", "error"), "does not fit": ("gray", "block"),
    "not here": ("gray", "block"), "not run": ("gray", "radio_button_unchecked"),
}  # fmt: skip
ON_PURPOSE = (
    "This variant was trained while it was quantized, so its weights moved on purpose and its answers with them: judge "
    "it by its accuracy rather than by its agreement."
)
READING = (
    "Each mark is one result on the way through the network, computed by the engine itself and set beside "
    "{source} on {images} test images. Discs are within the tolerance, crosses beyond. The search asked for "
    "{asked} of {comparable} results that both have."
)

SOURCES: Mapping[str, str] = {
    "pytorch": "eager PyTorch in FP32",
    "onnxruntime": "its source graph with nothing rewritten",
    "litert": "its source file in LiteRT's own kernels",
}
"""What computes what a result should be, by the runtime of the untouched model."""


def draw_details(shown: Matrix, cell: Cell) -> None:
    """What is known of the cell, and the way on."""
    with st.container(border=True, key="truth-details"):
        draw_head(cell)
        if cell.summary is None:
            draw_absence(cell)
            return
        draw_metrics(shown, cell)
        draw_links(cell)
        if cell.state == "trained since":
            st.info(ON_PURPOSE, icon=":material/school:")
        elif cell.fidelity and cell.fidelity.divergence:
            draw_divergence(cell, cell.fidelity.divergence)
        elif cell.state == "differs":
            draw_advice(cell, None)
        draw_conditions(cell)


def draw_head(cell: Cell) -> None:
    """Where it is, its state and its verdict."""
    colour, icon = BADGES[cell.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{text.escape(cell.place)}**", width="content")
        st.badge(STATE_WORDS[cell.state], color=colour, icon=f":material/{icon}:")  # type: ignore[arg-type]
        if label := cell.recipe.engine.label():
            st.badge(f"engine {label}", color="violet", icon=":material/settings:")
    st.markdown(text.escape(truth_texts.hover(cell)))
    if cell.operator:
        st.markdown(f":material/block: Operator: `{cell.operator.replace('`', '')}`")
    if cell.summary and cell.recipe.engine.label():
        st.caption("It was measured with these engine settings only, not with the usual ones.")


def draw_absence(cell: Cell) -> None:
    """The way to a cell that was not measured."""
    lost = why_lost(cell.recipe)
    with st.container(horizontal=True):
        if cell.record and st.button("Open the run", icon=":material/arrow_forward:", key="truth-open-run"):
            open_page("runs", run=cell.record.id)
        if cell.state == "failed" and st.button(
            "Run again",
            icon=":material/replay:",
            key="truth-rerun",
            disabled=bool(lost),
            help=text.escape(lost) or None,
        ):
            open_page("runs", run=enqueue(store(), cell.recipe))
        if cell.state == "not run" and st.button(
            "Run this one", type="primary", icon=":material/play_arrow:", key="truth-run-one",
            help="With what it is compared with, where that has not been measured.",
        ):  # fmt: skip
            open_page("runs", run=enqueue(store(), cell.recipe))


def draw_metrics(shown: Matrix, cell: Cell) -> None:
    """All figures: first whether it is the same model, then what it costs."""
    summary, given = cell.summary, cell.fidelity
    if summary is None:
        return
    with st.grid(4, min_column_width=125, key="truth-same"):
        if given:
            draw_fidelity(given)
        accuracy, interval = truth_texts.accuracy(cell, shown)
        judging = summary.judging
        draw_metric(
            truth_texts.answers_title(judging), accuracy, interval,
            help=f"Of {summary.total:,} test {judging.unit}, with its 95 % interval.",
        )  # fmt: skip
    with st.grid(5, min_column_width=110, key="truth-cost"):
        p50, p95, *_ = truth_texts.latency(cell, shown)
        draw_metric("Latency p50", p50.removesuffix(" !"), p95, help=f"At batch size {summary.batch_size}.")
        if reference := shown.reference(cell):
            draw_speed(cell, reference)
        first, exact = truth_texts.size(cell, shown)
        draw_metric("Size", first, exact, help="Bytes of all files that ship.")
        build = truth_texts.build_time(cell, shown)[0]
        draw_metric("Build time", build, "at opening", help=truth_texts.BUILD_HELP)
        cold = truth_texts.cold_start(cell, shown)[0]
        draw_metric("Cold start", cold, "first answer", help=truth_texts.COLD_START_HELP)
    if summary.is_disturbed:
        st.markdown(":orange[:material/warning:] Something else slowed the timing: run it again on a quiet machine.")


def draw_speed(cell: Cell, reference: Cell) -> None:
    """How it compares with its reference."""
    ratio, verdict = speed(cell, reference)
    plain = verdict.removesuffix(DISTURBED)
    words = {NO_DIFFERENCE: "not measurable", TOO_FEW: "too few calls"}.get(plain, plain.rpartition(" ")[2])
    draw_metric(
        "Speed", f"{ratio:.2f}x", f"{words}, disturbed" if plain != verdict else words,
        help=f"Median latency of {reference.place} over this one's. {verdict.capitalize()}, by both intervals.",
    )  # fmt: skip


def draw_fidelity(given: Fidelity) -> None:
    """Agreement and differences."""
    low, high = given.interval
    agreement = f"{100 * given.agreement:.4g} %"
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    draw_metric("Agreement", agreement, interval, help=f"{truth_texts.AGREEMENT_HELP} Here {given.images:,} images.")
    draw_metric(
        "Difference", truth_texts.percent(given.relative), f"tolerance {100 * given.tolerance:.2g} %",
        help=truth_texts.RELATIVE_HELP,
    )  # fmt: skip
    draw_metric(
        "Largest difference", f"{given.largest_difference:.2g}",
        f"mean {given.mean_difference:.2g}",
        help=f"{truth_texts.LARGEST_HELP} That is {given.largest_logit:.3g} here.",
    )  # fmt: skip


def draw_links(cell: Cell) -> None:
    """The ways to the run and to what ships."""
    record = cell.record
    if record is None:
        return
    with st.container(horizontal=True):
        if st.button("Open the run", icon=":material/arrow_forward:", key="truth-open-run"):
            open_page("runs", run=record.id)
        if st.button("Export", icon=":material/package_2:", key="truth-export"):
            open_page("export", run=record.id)
        live, lost = live_runs(store(), [record.recipe]), why_lost(record.recipe)
        if not live and st.button(
            "Run again", icon=":material/replay:", key="truth-rerun", disabled=bool(lost),
            help=text.escape(lost) or "Measure it anew; the newest run counts.",
        ):  # fmt: skip
            open_page("runs", run=enqueue(store(), record.recipe))
        usual = usual_of(record)
        if usual and not lost and st.button("Run with usual settings", icon=":material/play_arrow:", key="truth-usual"):
            enqueue_missing(store(), [usual])
            st.rerun()


def usual_of(record: RunRecord) -> Recipe | None:
    """The same recipe with the engine as usual, where it was measured with another one and may be run."""
    recipe = record.recipe
    usual = recipe.model_copy(update={"name": "", "engine": RUNTIMES[recipe.runtime].settings})
    return usual if recipe.engine.label() and not live_runs(store(), [usual]) else None


def draw_divergence(cell: Cell, found: Divergence) -> None:
    """Where it begins to differ: the layer, the chart of all that was asked for, and what to try."""
    st.divider()
    head = "First diverging layer" if found.tensor else "Where it differs"
    st.markdown(f"**{head}** · {text.escape(found.verdict)}")
    if found.tensor:
        st.markdown(place_of(found))
    figure = figures.probes(found, ink=ink(), dark=is_dark())
    st.plotly_chart(figure, key="truth-probes", config=PLAIN, alt="Relative difference along the network")
    source = SOURCES[baseline_runtime(cell.recipe.model)]
    st.caption(READING.format(source=source, images=found.images, asked=len(found.probed), comparable=found.comparable))
    if cell.state == "differs":
        draw_advice(cell, found)


def place_of(found: Divergence) -> str:
    """Layers, operator and tensor as one line of markdown."""
    layers = ", ".join(f"`{each}`" for each in found.layers)
    where = f"{'Layer' if len(found.layers) == 1 else 'Layers'} {layers} · " if layers else ""
    off = "not finite" if found.relative is None else f"{100 * found.relative:.3g} %"
    tolerance = f"tolerance {100 * found.tolerance:.3g} %"
    return f"{where}operator `{found.op}` · tensor `{found.tensor}` · off by {off}, {tolerance}"


def draw_advice(cell: Cell, found: Divergence | None) -> None:
    """What to try next, and the way to the setting."""
    words, setting = advice(cell, found)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/lightbulb: {words}", width="stretch")
        if cell.record and st.button(
            "Try it", icon=":material/tune:", key="truth-try",
            help="Opens this recipe on the Optimise page, at the setting that would change this.",
        ):  # fmt: skip
            open_page("optimise", run=cell.record.id, look=setting)


def advice(cell: Cell, found: Divergence | None) -> tuple[str, str]:
    """What to try, as markdown, and the setting it is about."""
    if keeping := keeps_layers(cell):
        title = f"**{TECHNIQUES[keeping].model_fields['keep'].title}**"
        named = ", ".join(f"`{each}`" for each in found.layers) if found else ""
        return f"Try {title} for {named or most_wrong(found)}, and run again.", f"{keeping}.keep"
    if cell.recipe.engine.label():
        return "Try the engine's usual settings: what it was told to do may be what differs.", "runtime"
    return "Nothing in the recipe rounds here, so the engine itself is what differs: try another runtime.", "runtime"


def most_wrong(found: Divergence | None) -> str:
    """The layers that differ most, with the worst one's name where it has one."""
    worst = found.largest.module if found and found.probed else ""
    return "the layers that differ most" + (f", such as `{worst}`" if worst else "")


def keeps_layers(cell: Cell) -> str:
    """Key of the technique that quantized and can keep layers in float; empty where none did."""
    last = cell.recipe.techniques[-1] if cell.recipe.techniques else None
    precision = cell.summary.precision if cell.summary else ""
    return last.key if last and precision in QUANTIZED and "keep" in type(last).model_fields else ""


def draw_conditions(cell: Cell) -> None:
    """Under what it was measured."""
    record, summary = cell.record, cell.summary
    if record is None or summary is None:
        return
    st.caption(
        f"{text.escape(summary.device_name)} · {precision_title(summary.precision)} · batch size {summary.batch_size} "
        f"· {text.ago(record.ended_at or record.created_at)}"
    )
    with st.expander("All conditions", key="truth.conditions", icon=":material/description:", on_change="rerun") as box:
        if box.open and (result := store().result(record.id)):
            st.dataframe(tables.conditions({record.id: result}, {record.id: cell.place}), alt="Conditions of the run")
