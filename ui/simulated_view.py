"""What came of a simulated number format: how right it is, what it would take, and what rounding did to each layer."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import streamlit as st

from experiments.compare import simulations
from experiments.measures import NO_DIFFERENCE
from experiments.references import baseline_of, baseline_title
from experiments.run_record import RunRecord
from profiling.accuracy import Accuracy
from ui import text
from ui.quantization_view import draw_quantization
from ui.state import open_page, store

NOT_MEASURED = "computed, not measured"


def draw_simulation(record: RunRecord) -> None:
    """A finished run of a simulated number format."""
    result = store().simulated_results([record.id]).get(record.id)
    if result is None:
        return
    base = baseline_accuracy(record)
    row = simulations([record], {record.id: result}, base).iloc[0]
    judging, baseline = result.accuracy.judging, baseline_title(record.recipe.model)
    st.markdown(
        f":violet-badge[:material/science: simulated] Computed in float32 with values rounded. The {judging.noun} is "
        "real; **speed, memory and file size were not measured**, because nothing got faster or smaller."
    )
    draw_numbers(row, result.accuracy)
    st.caption(
        f"The difference is to the baseline: {baseline}, on the same {judging.unit}."
        if base
        else f"Differences appear once the baseline ({baseline}) has finished on this device."
    )
    draw_quantization(result.quantization, record)
    if st.button("Compare", type="primary", icon=":material/bar_chart:", key="compare"):
        open_page("compare", model=record.recipe.model)


def baseline_accuracy(record: RunRecord) -> Accuracy | None:
    """What the untouched model gets right on this device, where that is known."""
    baseline = store().finished_before(baseline_of(record.recipe))
    result = store().result(baseline.id) if baseline else None
    return result.accuracy if result else None


def draw_numbers(row: pd.Series[Any], accuracy: Accuracy) -> None:
    """Accuracy and agreement as measured, bits and size as computed."""
    judging, (low, high) = accuracy.judging, accuracy.interval
    neutral = row.accuracy_verdict in ("", NO_DIFFERENCE)
    colour: Literal["gray", "green", "red"] = (
        "gray" if neutral else "green" if row.accuracy_verdict.startswith("+") else "red"
    )
    with st.container(horizontal=True, key="metrics"):
        draw_metric(
            f"{judging.title}, simulated", text.share(row.accuracy), row.accuracy_verdict or None, colour=colour,
            help=f"{judging.counted(accuracy.correct, accuracy.total)}; 95 % interval {100 * low:.2f} to "
            f"{text.share(high)}. The difference is in points, by McNemar's exact test on the same {judging.unit}.",
        )  # fmt: skip
        counted = f"{accuracy.total:,} test {judging.unit}"
        draw_metric("95 % interval", f"{100 * low:.2f} to {text.share(high)}", counted)
        if judging.has_labels and pd.notna(row.agreement):
            draw_metric(
                "Agreement", text.share(row.agreement), "with the baseline",
                help=f"Share of test {judging.unit} that it and the baseline predict alike.",
            )  # fmt: skip
        draw_metric(
            "Bits per weight", f"{row.weight_bits:.2f}", NOT_MEASURED,
            help="Mean over convolutions and linear layers, scales included; layers kept in float count 32.",
        )  # fmt: skip
        draw_metric(
            "Size", text.data_size(row.size_bytes), NOT_MEASURED,
            help="What all parameters would take; biases and what else is no such weight count 32 bits. No such file "
            "was written.",
        )  # fmt: skip


def draw_metric(
    label: str,
    value: str,
    below: str | None,
    *,
    colour: Literal["gray", "green", "red"] = "gray",
    help: str | None = None,
) -> None:
    """A number with a few words below it."""
    st.metric(label, value, below, delta_color=colour, delta_arrow="off", help=help, border=True, height="stretch")
