"""The truth matrix as a table of everything behind it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from experiments.truth import Matrix
from experiments.truth_words import table
from ui import tables, truth_texts

TIMES = {"p50_ms": "p50", "p50_low_ms": "p50, 95 % from", "p50_high_ms": "to", "p95_ms": "p95"}


def draw_table(shown: Matrix) -> None:
    """All that is known of all cells."""
    frame, judging = table(shown), truth_texts.judging_in(shown)
    accuracy = _share(truth_texts.answers_title(judging), judging.help)
    with st.expander("Everything as a table", key="truth.table", icon=":material/table:"):
        filled = frame.dropna(axis=1, how="all")
        filled = filled[[name for name in filled if not (filled[name].astype(str) == "").all()]]
        st.dataframe(
            tables.in_units(filled, TIMES), hide_index=True, placeholder="n/a",
            column_config=TABLE | {"accuracy": accuracy}, alt="Every cell of the matrix",
        )  # fmt: skip
    st.download_button(
        "Download CSV", tables.to_csv(frame), "truth.csv", "text/csv", icon=":material/download:", key="truth-csv",
        on_click="ignore",
    )  # fmt: skip


def _share(title: str, help: str | None = None) -> Any:
    return st.column_config.NumberColumn(title, format="percent", help=help)


def _number(title: str, form: str, help: str | None = None) -> Any:
    return st.column_config.NumberColumn(title, format=form, help=help)


TABLE: dict[str, Any] = {
    "variant": st.column_config.TextColumn("Variant", pinned=True),
    "runtime": st.column_config.TextColumn("Runtime", pinned=True),
    "state": "State", "why": "Why", "operator": "Operator", "engine": "Engine", "precision": "Precision",
    "agreement": _share("Agreement", truth_texts.AGREEMENT_HELP),
    "agreement_low": _share("95 % from"), "agreement_high": _share("to"),
    "images": _number("Images", "%,d"),
    "relative_difference": _share("Relative difference", truth_texts.RELATIVE_HELP),
    "tolerance": _share("Tolerance", "The largest relative difference that the precision explains."),
    "largest_difference": _number("Largest difference", "%.3g", truth_texts.LARGEST_HELP),
    "mean_difference": _number("Mean difference", "%.3g", "Mean absolute difference of all logits."),
    "largest_logit": _number("Largest logit", "%.3g"),
    "first_diverging_tensor": "First diverging tensor", "first_diverging_layers": "First diverging layers",
    "accuracy_low": _share("95 % from"), "accuracy_high": _share("to"),
    "batch_size": _number("Batch size", "%d images"),
    **{name: st.column_config.NumberColumn(title) for name, title in TIMES.items()},
    "speedup": _number("Speed", "%.2fx"), "speed_against": "Against", "speed_verdict": "Measured",
    "is_disturbed": st.column_config.CheckboxColumn("Disturbed", help="Something else slowed the timing."),
    "size_bytes": _number("Size", "%,d B"),
    "build_ms": _number("Build time", "%.1f ms", truth_texts.BUILD_HELP),
    "cold_start_ms": _number("Cold start", "%.0f ms", truth_texts.COLD_START_HELP),
    "device_name": "Device", "run_id": "Run",
}  # fmt: skip
