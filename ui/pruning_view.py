"""What structured pruning did to a network: which channels went, and tabs for all else that is known of it."""

from __future__ import annotations

from typing import Any, Protocol

import streamlit as st

from core.judging import Judging
from core.pruning import PruningReport
from experiments.judging import of_record
from experiments.pruning import channel_table
from experiments.run_record import RunRecord
from ui import tables, text
from ui.figures import pruning as figures
from ui.figures.frame import PLAIN
from ui.pruning_curve_view import draw_curve
from ui.pruning_importance_view import draw_importance
from ui.pruning_schedule_view import draw_rounds, draw_search
from ui.state import colours, ink

COLUMNS: dict[str, Any] = {
    "name": st.column_config.TextColumn("Layer", width="medium", pinned=True),
    "kind": "Kind",
    "inputs_before": st.column_config.NumberColumn("Inputs before", format="%,d"),
    "inputs_after": st.column_config.NumberColumn("Inputs after", format="%,d"),
    "outputs_before": st.column_config.NumberColumn("Outputs before", format="%,d"),
    "outputs_after": st.column_config.NumberColumn("Outputs after", format="%,d"),
    "macs_before": st.column_config.NumberColumn("MACs before", format="%,d", help="For one image."),
    "macs_after": st.column_config.NumberColumn("MACs after", format="%,d", help="For one image."),
    "parameters_before": st.column_config.NumberColumn("Parameters before", format="%,d"),
    "parameters_after": st.column_config.NumberColumn("Parameters after", format="%,d"),
    "why_kept": st.column_config.TextColumn("Why its outputs stay", width="medium"),
}


class _Section(Protocol):
    def __call__(self, report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None: ...


def draw_pruning(report: PruningReport, record: RunRecord) -> None:
    """The headline and, in tabs, every layer of a finished run's network."""
    colour = colours([record])[record.recipe.digest]
    with st.container(border=True, key="pruning"):
        st.markdown(f"**Channels removed** · {text.escape(headline(report))}")
        sections = _sections(report, of_record(record))
        opened = st.tabs(list(sections), key="pruning.tab", on_change="rerun")
        for tab, draw in zip(opened, sections.values(), strict=True):
            if tab.open:
                with tab:
                    draw(report, record, colour=colour, ink=ink())


def headline(report: PruningReport) -> str:
    """`44 % of the channels, ranked by L2; 80.4 M → 20.6 M multiply-accumulates (3.90x fewer), ...`."""
    cut = [group for group in report.groups if group.prunable]
    before, after = (sum(getattr(group, when) for group in cut) for when in ("before", "after"))
    gone = f"{100 * (1 - after / before):.0f} % of the {before:,} channels that may go" if before else "no channel"
    how = "the same share in every layer" if report.everywhere_alike else "one ranking over all layers"
    return (
        f"{gone}, {how}, ranked by {report.importance}. Multiply-accumulates {text.count(report.macs_before)} → "
        f"{text.count(report.macs_after)} ({report.macs_before / report.macs_after:.2f}x fewer), parameters "
        f"{text.count(report.parameters_before)} → {text.count(report.parameters_after)}."
    )


def _sections(report: PruningReport, judging: Judging) -> dict[str, _Section]:
    """The tabs that have something to show."""
    has_importance = any(group.prunable and len(group.importance) for group in report.groups)
    return {
        "Channels": draw_channels,
        **({"Importance": draw_importance} if has_importance else {}),
        f"{judging.title} against ratio": draw_curve,
        **({"Rounds": draw_rounds} if report.rounds else {}),
        **({"Search": draw_search} if report.search else {}),
        "All layers": draw_table,
    }


def draw_channels(report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None:
    """Widths before and after, and which channels are gone."""
    rows = figures.rows_of(report)
    with st.grid(2, min_column_width=430):
        with st.container():
            st.markdown("**How wide each layer is**")
            figure = figures.widths(rows, colour=colour, ink=ink)
            st.plotly_chart(
                figure, key=f"pruning.widths.{record.id}", config=PLAIN, alt="Width of every layer before and after"
            )
        with st.container():
            st.markdown("**Which channels went**")
            figure = figures.channel_map(rows, colour=colour)
            st.plotly_chart(
                figure, key=f"pruning.map.{record.id}", config=PLAIN, alt="Which channels of every layer are gone"
            )
    wide = any(row.before > figures.MOST_CELLS for row in rows)
    st.caption(
        "Grey: before; in colour: what stays. Channels are numbered as before the first cut; layers joined by a "
        "shortcut lose the same ones."
        + f" In layers of more than {figures.MOST_CELLS} channels a cell stands for several; its tint tells which "
        "share of them stays." * wide
    )
    draw_kept(report, record)


def draw_kept(report: PruningReport, record: RunRecord) -> None:
    """Layers whose outputs all stay, gathered by the reason."""
    reasons: dict[str, list[str]] = {}
    for layer in report.layers:
        if layer.why_kept:
            reasons.setdefault(layer.why_kept, []).append(layer.name)
    count = sum(map(len, reasons.values()))
    if reasons:
        with st.expander(
            f"Outputs that all stay: {count} {'layer' if count == 1 else 'layers'}", key=f"pruning.kept.{record.id}"
        ):
            for reason, names in reasons.items():
                st.markdown(f"**{text.escape(reason)}**  \n{text.escape(', '.join(names))}")


def draw_table(report: PruningReport, record: RunRecord, *, colour: str, ink: str) -> None:
    """Every layer's figures, to sort and to take along."""
    table = channel_table(report)
    st.dataframe(
        table,
        column_config=COLUMNS,
        hide_index=True,
        key=f"pruning.table.{record.id}",
        alt="Every layer before and after",
    )
    st.download_button(
        "Download CSV", tables.to_csv(table), f"channels-{record.id}.csv", "text/csv",
        icon=":material/download:", key=f"pruning.csv.{record.id}", on_click="ignore",
    )  # fmt: skip
