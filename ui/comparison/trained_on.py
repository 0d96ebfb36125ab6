"""What training on alone did: variants that TensorFlow fine-tuned, beside the network trained on in FP32."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from experiments.recipe import Recipe
from experiments.references import fine_tuned_control
from experiments.training_on import TrainedOn, trained_on, without_control
from ui import tables, text
from ui.comparison.missing import draw_missing
from ui.comparison.selection import Selection
from ui.state import store

WHAT = (
    "A variant that was changed while it trained has seen more epochs than the untouched network. Its reference is a "
    "control: the same network trained on in FP32. What the control gains is due to training, what lies between "
    "control and variant to the technique, as far as both were trained alike: what was not is said below."
)
LACKING = (
    "No control is among the chosen variants for {titles}: part of their change in {noun} may come from having "
    "trained for longer. Choose it above, or run it."
)
NOT_ALIKE = " (not quite alike)"
COLUMNS: dict[str, Any] = {
    "colour": st.column_config.ImageColumn("", width=30, help="The variant's colour in every chart."),
    "title": "Variant",
    "epochs": st.column_config.NumberColumn("Epochs", format="%d", help="Of all its techniques together."),
    "total": st.column_config.TextColumn("Against its untouched model"),
    "training": st.column_config.TextColumn("Training alone", help="The control against the baseline."),
    "technique": st.column_config.TextColumn("Against its control", help="What is left for the technique itself."),
    "control": st.column_config.TextColumn("Control"),
}


def draw_trained_on(selection: Selection) -> None:
    """A row for each variant that was trained on; what to add where its control is missing; else nothing."""
    found = trained_on(selection.records, selection.results)
    lacking = [record.id for record in without_control(selection.records)]
    if not found and not lacking:
        return
    st.subheader("What training on alone does")
    if found:
        st.caption(WHAT)
        for sentence in control_sentences(selection, found):
            st.markdown(text.escape(sentence))
        table = table_of(selection, found)
        st.dataframe(table, column_config=COLUMNS, hide_index=True, alt="Variants beside their control")
        for sentence in unlike_sentences(selection, found):
            st.caption(text.escape(sentence))
    if lacking:
        titles = text.escape(", ".join(selection.titles[run_id] for run_id in lacking))
        st.info(LACKING.format(titles=titles, noun=selection.judging.noun), icon=":material/info:")
        draw_missing(controls_to_run(selection, lacking), key="controls")


def controls_to_run(selection: Selection, run_ids: list[str]) -> list[Recipe]:
    """The controls of these variants that have never finished, each once."""
    wanted = [fine_tuned_control(selection.record(run_id).recipe) for run_id in run_ids]
    unfinished = {each.digest: each for each in wanted if each and not store().finished_before(each)}
    return list(unfinished.values())


def control_sentences(selection: Selection, found: list[TrainedOn]) -> list[str]:
    """What each control changed by itself."""
    titles, by_control = selection.titles, {each.control_id: each for each in found}
    return [
        f"Training alone, {each.control_epochs} epoch{'' if each.control_epochs == 1 else 's'}: "
        f"{each.training.verdict} to the baseline ({titles[run_id]})."
        for run_id, each in by_control.items()
    ]


def unlike_sentences(selection: Selection, found: list[TrainedOn]) -> list[str]:
    """In what each control was not trained as its variant was, where there is anything."""
    return [f"{selection.titles[each.run_id]}: its control had {each.unlike}." for each in found if each.unlike]


def table_of(selection: Selection, found: list[TrainedOn]) -> pd.DataFrame:
    """The changes in words, a row for each variant."""
    titles = selection.titles
    rows = [
        {
            "colour": tables.swatch(selection.colours[selection.row(each.run_id).digest]),
            "title": titles[each.run_id],
            "epochs": each.epochs,
            "total": each.total.verdict,
            "training": each.training.verdict,
            "technique": each.technique.verdict,
            "control": titles[each.control_id] + (NOT_ALIKE if each.unlike else ""),
        }
        for each in found
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw_training_of(selection: Selection, run_id: str) -> None:
    """Which part of a variant's change in accuracy came from training on, in a sentence; nothing where none did."""
    found = [each for each in trained_on(selection.records, selection.results) if each.run_id == run_id]
    for each in found:
        st.markdown(f":material/model_training: {text.escape(each.sentence)}")
