"""What training in reduced precision gained or cost, as it was measured beside FP32."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.judging import LABELLED, Judging
from core.quantization import TrainingComparison
from experiments.training_gain import TrainingGain, gain_of, turn_losses, turn_pace
from ui import text
from ui.figures import training as figures
from ui.figures.frame import PLAIN

PACE_COLOURS = {"faster": "green", "slower": "red"}
SMALL_BATCH = 8
"""Up to so many images a step, there is little to multiply at once."""
HOW = (
    "Both started from the same weights, saw the same batches in the same order and took turns of a few steps, in "
    "alternating order. The interval is a bootstrap over the turns after the first; only a difference whose interval "
    "excludes 1 and that exceeds 3 % is called one. Where both losses coincide, the grey line of FP32 shows as a rim."
)
WHEN = (
    "16 bits pay in training where large matrix products and convolutions take the time: wide layers, large batches, "
    "tensor cores, AVX512-BF16 or AMX. At batch 1 and in tiny networks the conversions, and the many small operations "
    "that stay in FP32, cost as much as they save. Memory shrinks by what is kept for the backward pass: weights, "
    "gradients and optimizer state stay in FP32."
)


def draw_training(comparison: TrainingComparison, judging: Judging = LABELLED, *, colour: str) -> None:
    """Speed, memory and accuracy of training against FP32 in words, figures and a table; FP32 is grey."""
    gain, ours = gain_of(comparison), comparison.runs[0]
    with st.container(border=True, key="training"):
        st.markdown(f"**Training in {gain.first} beside FP32**")
        tint = PACE_COLOURS.get(gain.pace, "gray")
        st.markdown(f":{tint}[**{text.escape(capitalised(gain.pace_in_words))}**]")
        st.dataframe(
            measures(gain, judging), hide_index=True, key="training-table", alt=f"Training in {gain.first} against FP32"
        )
        st.caption(f"Memory: {comparison.memory_label}. {accuracy_note(comparison, judging)}")
        draw_figures(comparison, colour)
        st.caption(f"{HOW} {why_not(gain, ours.batch_size)}{WHEN}")
        with st.expander("Every turn", key="training-turns", icon=":material/table:"):
            st.dataframe(turns(comparison), hide_index=True, key="training-turn-table", alt="Every turn of training")


def draw_figures(comparison: TrainingComparison, colour: str) -> None:
    """Loss and pace, and the loss scale where there is one."""
    ours = comparison.runs[0]
    drawn = {
        "Loss of both over the steps": figures.losses(comparison, colour=colour),
        "Images per second in each turn": figures.pace(comparison, colour=colour),
    }
    if ours.log2_scales is not None:
        drawn["Loss scale over the steps"] = figures.scale(ours, colour=colour)
    with st.grid(2, min_column_width=380):
        for number, (title, figure) in enumerate(drawn.items()):
            st.plotly_chart(figure, key=f"training-figure-{number}", config=PLAIN, alt=title)


def capitalised(words: str) -> str:
    """The words with a capital letter first."""
    return words[:1].upper() + words[1:]


def accuracy_note(comparison: TrainingComparison, judging: Judging) -> str:
    """On what the accuracies rest."""
    ours, theirs = comparison.runs
    return (
        f"{judging.title}: {ours.images:,} calibration {judging.unit}, which no training saw; of them only "
        f"{ours.precision.upper()} has {comparison.only_first_right} {judging.right}, only {theirs.precision.upper()} "
        f"{comparison.only_second_right} (McNemar's exact test)."
    )


def why_not(gain: TrainingGain, batch_size: int) -> str:
    """What a small batch did to the speed; empty where it is large or training got faster."""
    if gain.pace == "faster" or batch_size > SMALL_BATCH:
        return ""
    return f"With {batch_size} {'image' if batch_size == 1 else 'images'} a step there is little to multiply at once. "


def measures(gain: TrainingGain, judging: Judging = LABELLED) -> pd.DataFrame:
    """One row a measure: the chosen precision, FP32 and what may be said of the difference."""
    ratio = gain.ratio
    speed = (
        f"{ratio.value:.2f}x (95 % interval {ratio.low:.2f} to {ratio.high:.2f}), {gain.pace}" if ratio else gain.pace
    )
    rows = [
        (f"{judging.unit.capitalize()} per second", *(f"{value:,.0f}" for value in gain.samples_per_s), speed),
        ("Memory", *(text.data_size(value) for value in gain.memory_bytes), gain.memory_in_words),
        (
            "Training loss at the end",
            *(f"{value:.3f}" for value in gain.losses),
            f"{gain.losses[0] - gain.losses[1]:+.3f}",
        ),
        (f"Validation {judging.noun}", *(text.share(value) for value in gain.accuracies), gain.accuracy_verdict),
    ]
    return pd.DataFrame(rows, columns=["Measure", gain.first, "FP32", "Difference"])


def turns(comparison: TrainingComparison) -> pd.DataFrame:
    """One row a turn: its steps, and the loss and pace of both."""
    frame = pd.DataFrame({"Turn": range(1, len(comparison.turns) + 1), "Steps": comparison.turns})
    for run in comparison.runs:
        name = run.precision.upper()
        frame[f"Loss, {name}"] = turn_losses(run, comparison).round(4)
        frame[f"Images/s, {name}"] = turn_pace(run, comparison).round(1)
        if run.log2_scales is not None:
            last = pd.Series(comparison.turns).cumsum() - 1
            frame["Loss scale"] = 2.0 ** run.log2_scales.array[last]
    return frame
