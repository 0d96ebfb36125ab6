"""Why a variant is, or is not, as fast as its arithmetic promises."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.errors import StudioError
from core.layers import LayerProfile
from experiments.explanation import Cause, Explanation, Measured
from experiments.references import reference_of
from experiments.run_record import RunRecord
from experiments.why import explain
from experiments.why_tflite import remarks
from ui import text
from ui.comparison.duels import draw_duels
from ui.comparison.selection import Selection, draw_own
from ui.comparison.trained_on import draw_training_of
from ui.figures.frame import GREY, PLAIN
from ui.figures.waterfall import Bar, waterfall
from ui.queue import enqueue, why_lost
from ui.state import open_page, store

MOST_LAYERS = 40
KINDS = {"compute": "multiplies", "conversion": "converts", "other": "other"}
READING = (
    "From the top: the time of the reference; what would be left of it if all of that time shrank as the arithmetic "
    "promises; then, in ms, everything that stands between that hope and what was measured, taken from the profile of "
    "every operation. The bars sum to the measured time; what the profile could not place is shown as the residual."
)


def draw(selection: Selection) -> None:
    """The explanation of one variant, its causes, and the means to settle a doubt."""
    selection = draw_own(selection)
    candidates = [run_id for run_id in selection.titles if not selection.record(run_id).recipe.is_baseline]
    if not candidates or len(selection.records) < 2:
        st.info(
            "Choose a variant and what to compare it with above: then its speed can be explained.",
            icon=":material/info:",
        )
        return
    variant, reference = pick_pair(selection, candidates)
    draw_tflite_remarks(selection, reference=reference, variant=variant)
    before, after = (measured_of(selection, run_id) for run_id in (reference, variant))
    if before and after:
        try:
            explanation = explain(before, after, same_runtime=bridge_of(selection, reference, variant))
        except StudioError as error:
            st.error(text.escape(str(error)), icon=":material/error:")
        else:
            draw_explanation(selection, explanation, reference=reference, variant=variant)
            draw_layers(selection, reference, variant)
    else:
        draw_unprofiled(selection, [run_id for run_id in (reference, variant) if not measured_of(selection, run_id)])
    draw_duels(selection, reference=reference, variant=variant)


def draw_tflite_remarks(selection: Selection, *, reference: str, variant: str) -> None:
    """What explains a .tflite file without a profile; nothing for other variants."""
    recipe, other = selection.record(variant).recipe, selection.record(reference).recipe
    before = selection.results[reference] if recipe.runtime == other.runtime else None
    found = remarks(recipe, selection.results[variant], before)
    if found:
        with st.container(border=True):
            for each in found:
                st.markdown(f"**{text.escape(each.title)}** · {text.escape(each.sentence)}")
            draw_training_of(selection, variant)


def pick_pair(selection: Selection, candidates: list[str]) -> tuple[str, str]:
    """The variant to explain, and what it is compared with: by default the untouched network in the same runtime."""
    titles = selection.titles
    left, right = st.columns(2)
    variant = left.selectbox(
        "Explain", candidates, _start(selection, candidates), format_func=titles.__getitem__, key="why.variant"
    )
    others = [run_id for run_id in titles if run_id != variant]
    same_runtime = reference_of(selection.record(variant).recipe).digest
    start = [run_id for run_id in others if selection.record(run_id).recipe.digest == same_runtime]
    index = others.index(start[0]) if start else 0
    reference = right.selectbox(
        "Compared with", others, index, format_func=titles.__getitem__, key=f"why.reference.{variant}",
        help="The untouched network in the same runtime shows what the techniques did; the baseline also what the "
        "runtime did.",
    )  # fmt: skip
    return variant, reference


def _start(selection: Selection, candidates: list[str]) -> int:
    """The first variant that techniques were applied to."""
    treated = [place for place, run_id in enumerate(candidates) if selection.record(run_id).recipe.techniques]
    return treated[0] if treated else 0


def measured_of(selection: Selection, run_id: str) -> Measured | None:
    """What the explanation needs of a run; None when it has no profile."""
    result = selection.results[run_id]
    return result.measured(selection.record(run_id).recipe)


def bridge_of(selection: Selection, reference: str, variant: str) -> Measured | None:
    """The untouched network in the variant's runtime, where it was measured and the reference is one in another."""
    recipe, before = selection.record(variant).recipe, selection.record(reference).recipe
    if before.runtime == recipe.runtime or before.techniques:
        return None
    record = store().finished_before(reference_of(recipe))
    result = store().result(record.id) if record else None
    return result.measured(record.recipe) if result and record else None


def draw_explanation(selection: Selection, explanation: Explanation, *, reference: str, variant: str) -> None:
    """The verdict, the waterfall and the causes in words."""
    st.info(f"**{text.escape(explanation.verdict)}**", icon=":material/lightbulb:")
    tints = [selection.colours[selection.row(run_id).digest] for run_id in (reference, variant)]
    figure = waterfall(bars_of(explanation, *tints), ink=selection.ink)
    with st.container(border=True):
        st.plotly_chart(figure, key=f"waterfall.{variant}", config=PLAIN, alt="From the promised to the measured time")
        st.caption(READING)
    st.caption(text.escape(explanation.promise))
    told = [cause for cause in (explanation.runtime, *explanation.causes, explanation.residual) if cause]
    for cause in told:
        draw_cause(cause, record=selection.record(variant))


def bars_of(explanation: Explanation, reference_colour: str, variant_colour: str) -> list[Bar]:
    """The rows of the waterfall."""
    rows: list[Bar] = []
    if explanation.runtime and explanation.baseline_ms is not None:
        rows += [
            Bar(explanation.baseline_title, explanation.baseline_ms, "total", reference_colour),
            Bar(explanation.runtime.title, explanation.runtime.ms, "step"),
        ]
    ideal = f"Promised by arithmetic: {explanation.ideal_speedup:.1f}x"
    return [
        *rows,
        Bar(explanation.reference_title, explanation.reference_ms, "total", GREY if rows else reference_colour),
        Bar(ideal, explanation.ideal_ms - explanation.reference_ms, "promise"),
        *(Bar(cause.title, cause.ms, "step") for cause in explanation.causes),
        Bar(explanation.residual.title, explanation.residual.ms, "step"),
        Bar(
            f"{explanation.variant_title}: {explanation.measured_speedup:.1f}x",
            explanation.measured_ms,
            "total",
            variant_colour,
        ),
    ]


def draw_cause(cause: Cause, *, record: RunRecord) -> None:
    """What a bar is, in a sentence, with the way to the setting that would change it."""
    colour = "orange" if cause.ms > 0 else "green" if cause.ms < 0 else "gray"
    with st.container(border=True):
        words, button = st.columns([8, 1], vertical_alignment="center")
        badge = f":{colour}-badge[{cause.ms:+.3f} ms]"
        words.markdown(f"{badge} **{text.escape(cause.title)}** · {text.escape(cause.sentence)}")
        if cause.setting and button.button(
            "Try it", key=f"cause.{cause.key}", icon=":material/tune:", type="tertiary",
            help="Opens this recipe on the Optimise page, at the setting that would change this.",
        ):  # fmt: skip
            open_page("optimise", run=record.id, look=cause.setting)


def draw_layers(selection: Selection, reference: str, variant: str) -> None:
    """The profiles behind the bars, the slowest operation first."""
    with st.expander("Every operation, as the engine timed it", key="why-layers", icon=":material/table:"):
        for column, run_id in zip(st.columns(2), (reference, variant), strict=True):
            profile = selection.results[run_id].layers
            if profile:
                column.markdown(f"**{text.escape(selection.titles[run_id])}** · {summary(profile)}")
                column.dataframe(layers(profile), hide_index=True, column_config=LAYER_COLUMNS, alt="Operations")


LAYER_COLUMNS: dict[str, Any] = {
    "time_ms": st.column_config.NumberColumn("Time", format="%.4f ms"),
    "share": st.column_config.ProgressColumn("Share", format="percent", min_value=0, max_value=1, color="auto"),
    "macs": st.column_config.NumberColumn("MACs", format="%.2f M"),
    "moved": st.column_config.NumberColumn("Moved", format="%.0f KiB", help="Weights, inputs and outputs, each once."),
    "channels": st.column_config.TextColumn("Channels", help="In and out."),
    "kind": st.column_config.TextColumn(
        "Does", help="Multiplies, converts number format or layout, or something else."
    ),
    "name": "Layer",
    "op": "Operation",
    "precision": "Precision",
}


def summary(profile: LayerProfile) -> str:
    """How much of a call the operations cover."""
    return (
        f"{len(profile.layers)} operations, {profile.layers_ms:.3f} ms of a call of {profile.call_ms:.3f} ms; "
        f"{profile.overhead_ms:+.3f} ms around them"
    )


def layers(profile: LayerProfile) -> pd.DataFrame:
    """A row for each operation, the slowest first."""
    slowest = sorted(profile.layers, key=lambda layer: -layer.time_ms)
    rows = [
        {
            "name": layer.name,
            "op": layer.op,
            "kind": KINDS[layer.kind],
            "precision": layer.precision,
            "time_ms": layer.time_ms,
            "share": layer.time_ms / profile.call_ms,
            "macs": layer.macs / 1e6,
            "moved": layer.moved_bytes / 1024,
            "channels": "" if layer.channels is None else "{} → {}".format(*layer.channels),
        }
        for layer in slowest
    ]
    return pd.DataFrame(rows)


def draw_unprofiled(selection: Selection, run_ids: list[str]) -> None:
    """Why there is no explanation, and how to get one."""
    for run_id in run_ids:
        result, title = selection.results[run_id], text.escape(selection.titles[run_id])
        if result.why_no_layers:
            st.info(f"**{title}** has no profile: {text.escape(result.why_no_layers)}", icon=":material/info:")
        else:
            st.info(f"**{title}** was measured before runs kept a profile.", icon=":material/info:")
            recipe = selection.record(run_id).recipe
            lost = why_lost(recipe)
            if st.button(
                "Measure it again", key=f"why.again.{run_id}", icon=":material/replay:",
                disabled=bool(lost), help=text.escape(lost) or None,
            ):  # fmt: skip
                open_page("runs", run=enqueue(store(), recipe))
