"""How important the channels were, and what another ratio would leave, predicted without running anything."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.errors import StudioError
from core.judging import Judging
from core.pruning import PruningReport
from experiments.judging import of_record
from experiments.models import is_here
from experiments.pruning import KEY, Prediction, at_ratio, predicted, read_off
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from optimizers import TECHNIQUES
from ui import text
from ui.figures.frame import PLAIN
from ui.figures.pruning import importances
from ui.state import open_page

ALL = -1
SCOPES = {True: "Every layer alike", False: "One ranking for all"}
HOW = (
    "As ranked before the first cut, mostly relative to the mean of the channels that compete, so that 1 is an "
    "ordinary channel. What loses channels together counts once: joined layers, or the same dimension of every head. "
    "Where grey and coloured bars are mixed, layers have thresholds of their own."
)


def draw_importance(report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None:
    """The distribution with the threshold, a slider over the ratio, and what it would leave."""
    ratio, alike = draw_ratio(report, record)
    shown = predicted(report, ratio, everywhere_alike=alike, round_to=report.round_to)
    own = predicted(report, report.ratio, everywhere_alike=report.everywhere_alike, round_to=report.round_to)
    draw_prediction(report, shown, ratio, alike, of_record(record))
    group = pick_group(report, record)
    figure = importances(report, shown, own, None if group == ALL else group, colour=colour, ink=ink)
    st.plotly_chart(figure, key=f"pruning.importance.{record.id}", config=PLAIN, alt="Importance of the channels")
    st.caption(HOW)
    draw_opener(shown, ratio, alike, record)
    with st.expander("Widths as a table", key=f"pruning.predicted.{record.id}"):
        st.dataframe(widths_table(report, shown), hide_index=True, column_config=COLUMNS, alt="Predicted widths")


COLUMNS: dict[str, Any] = {
    "layers": st.column_config.TextColumn("Layers that lose the same channels", width="large"),
    "before": st.column_config.NumberColumn("Before", format="%,d"),
    "after": st.column_config.NumberColumn("In this run", format="%,d"),
    "predicted": st.column_config.NumberColumn("At this ratio", format="%,d", help="As one cut would leave them."),
    "threshold": st.column_config.NumberColumn(
        "Threshold", format="%.2f", help="The highest importance among the channels that would go."
    ),
}


def draw_ratio(report: PruningReport, record: RunRecord) -> tuple[float, bool]:
    """The ratio and the scope to look at; the run's own to begin with."""
    field = TECHNIQUES[KEY].model_fields["ratio"]
    low, high = (next(getattr(each, name) for each in field.metadata if hasattr(each, name)) for name in ("ge", "le"))
    with st.grid(2, min_column_width=320):
        ratio = st.slider(
            "Pruning ratio", float(low), float(high), min(max(report.ratio, low), high), 0.01, format="%.2f",
            key=f"pruning.ratio.{record.id}", help="Moves the threshold. Nothing is run: all follows from the ranking.",
        )  # fmt: skip
        alike = st.segmented_control(
            "Where to prune", list(SCOPES), default=report.everywhere_alike, required=True,
            format_func=SCOPES.__getitem__, key=f"pruning.scope.{record.id}",
        )  # fmt: skip
    return float(ratio), bool(alike)


def draw_prediction(report: PruningReport, shown: Prediction, ratio: float, alike: bool, judging: Judging) -> None:
    """Multiply-accumulates, parameters and the accuracy before fine-tuning, each said to be predicted."""
    if shown.emptied:
        st.warning(f"This ratio would leave no channel in {text.escape(', '.join(shown.emptied))}: it cannot be run.")
        return
    with st.container(horizontal=True):
        fewer = f"{report.macs_before / shown.macs:.2f}x fewer than before"
        _metric("MACs, predicted", text.count(shown.macs), fewer, "For one image, from the widths.")
        smaller = f"{report.parameters_before / shown.parameters:.2f}x fewer than before"
        _metric(
            "Parameters, predicted", f"about {text.count(shown.parameters)}", smaller,
            "From the widths; normalisation layers are counted as if they stayed.",
        )  # fmt: skip
        left = sum(width for width, group in zip(shown.widths, report.groups, strict=True) if group.prunable)
        before = sum(group.before for group in report.groups if group.prunable)
        _metric("Channels, predicted", f"{left:,}", f"of {before:,} that may go", "Joined layers count once.")
        accuracy = read_off(report.scan, ratio) if alike == report.everywhere_alike else None
        if accuracy is not None:
            _metric(
                f"{judging.title}, not fine-tuned", text.share(accuracy), "read off the curve",
                f"Between two measured ratios, on {report.scan[0].images:,} calibration {judging.unit}. Fine-tuning "
                "brings most of the loss back.",
            )  # fmt: skip


def _metric(label: str, value: str, below: str, help: str) -> None:
    st.metric(label, value, below, delta_color="gray", delta_arrow="off", border=True, height="stretch", help=help)


def pick_group(report: PruningReport, record: RunRecord) -> int:
    """Which channels to look at: `ALL`, or the index of a group."""
    choices = [ALL, *(at for at, group in enumerate(report.groups) if group.prunable)]
    return st.selectbox(
        "Channels of", choices, format_func=lambda at: "all layers" if at == ALL else group_title(report, at),
        key=f"pruning.group.{record.id}",
    )  # fmt: skip


def group_title(report: PruningReport, at: int) -> str:
    """`features.1.conv2 and 3 layers joined to it (64 channels)`."""
    group = report.groups[at]
    joined = len(group.layers) - 1
    others = f" and {joined} {'layer' if joined == 1 else 'layers'} joined to it" if joined else ""
    return f"{group.layers[0]}{others} ({group.before:,} channels)"


def draw_opener(shown: Prediction, ratio: float, alike: bool, record: RunRecord) -> None:
    """The way to a recipe with this ratio, or why there is none."""
    recipe, reason = opened_with(shown, ratio, alike, record)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Open with this ratio", icon=":material/tune:", disabled=recipe is None,
            key=f"pruning.open.{record.id}", help="This run's recipe with that ratio, on the Optimise page.",
        )  # fmt: skip
        if reason:
            st.caption(text.escape(reason), width="content")
    if pressed and recipe:
        st.session_state["optimise.open"] = recipe
        open_page("optimise")


def opened_with(shown: Prediction, ratio: float, alike: bool, record: RunRecord) -> tuple[Recipe | None, str]:
    """The recipe, or None with the reason."""
    if not is_here(record.recipe.model):
        return None, "The model of this run is not here any more."
    if shown.emptied:
        return None, "No network could be cut so."
    try:
        recipe = at_ratio(record.recipe, ratio, scope="uniform" if alike else "global")
    except StudioError as error:
        return None, str(error)
    return (
        (None, "This run has that ratio: move the slider.") if recipe.digest == record.recipe.digest else (recipe, "")
    )


def widths_table(report: PruningReport, shown: Prediction) -> pd.DataFrame:
    """One row a group of joined layers that may lose channels: widths before, in this run and predicted."""
    rows = [
        (", ".join(group.layers), group.before, group.after, width, threshold)
        for group, width, threshold in zip(report.groups, shown.widths, shown.thresholds, strict=True)
        if group.prunable
    ]
    return pd.DataFrame(rows, columns=["layers", "before", "after", "predicted", "threshold"])
