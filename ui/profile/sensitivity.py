"""What each layer loses when it alone is changed, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.scan import CHANGES, Change, Scan, ScanCell
from experiments.checking import why_refused
from experiments.models import judging_of
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from experiments.scan import ScanResult, why_not_scanned
from optimizers import TECHNIQUES
from ui import tables, text
from ui.figures import sensitivity as figures
from ui.figures.frame import PLAIN
from ui.figures.quantization import plain
from ui.profile.assignment import draw_assignment
from ui.profile.scan_request import draw_settings, result_of
from ui.profile.subject import Subject
from ui.state import is_dark, open_page, store
from ui.study_view import draw_work

STATE = st.session_state
HOW = (
    "The network computes in float on calibration images while one layer alone is rounded or pruned; every other layer "
    "stays as it is. That shows which layers to leave alone before anything is trained or exported. What is scanned is "
    "the untouched network, so it is the same for every runtime."
)


@dataclass(frozen=True)
class Measure:
    """One thing to show of every cell."""

    title: str
    unit: str
    help: str
    value: Callable[[Scan, ScanCell], float]
    decimals: int | None = 2
    """None where values lie orders of magnitude apart: two digits, wherever they are."""


MEASURES: Mapping[str, Measure] = {
    "changed": Measure(
        "Answers changed", "%", "Share of the images that get another answer than from the untouched network.",
        lambda scan, cell: 100 * (scan.images - cell.agreed) / scan.images,
    ),
    "lost": Measure(
        "Accuracy lost", "points", "Percentage points of accuracy; negative where some were gained. Answers that were "
        "wrong may change without showing here.", lambda scan, cell: scan.lost_points(cell),
    ),
    "divergence": Measure(
        "Divergence", "nats", "KL divergence of the predictions, untouched to changed: sees a loss of confidence "
        "before any answer changes. 0 is no change.", lambda scan, cell: cell.divergence, None,
    ),
    "error": Measure(
        "Output error", "%", "Norm of the difference of the logits over the norm of the logits.",
        lambda scan, cell: 100 * cell.output_error,
    ),
}  # fmt: skip
PICKERS: Mapping[str, tuple[str, str]] = {
    "int8": ("Keep them in float, the rest in INT8", ":material/tune:"),
    "structured_pruning": ("Keep them whole, prune the rest", ":material/content_cut:"),
}
"""By technique: the words and the icon of the button that leaves the picked layers alone."""


def draw(subject: Subject) -> None:
    """The section: ask for a scan, its heat map, what to leave alone, and the assignment."""
    st.markdown(f"Which layers hurt when they are quantized or pruned? :gray[{HOW}]")
    runs = store().scans(subject.recipe.model)
    newest = next((run for run in runs if run.state == "finished"), None)
    if reason := why_not_scanned(subject.recipe.model):
        st.info(reason, icon=":material/info:")
    else:
        draw_settings(subject, newest)
    if live := next((run for run in runs if run.is_live), None):
        draw_work(live)
    found = result_of(newest.id) if newest else None
    if found and newest:
        st.fragment(draw_scan)(subject, newest, found)


def draw_scan(subject: Subject, record: RunRecord, found: ScanResult) -> None:
    """A finished scan."""
    judging, here = judging_of(subject.recipe.model), found.conditions
    scan = found.scan if judging.has_labels else without_labels(found.scan)
    st.caption(
        text.escape(
            f"Simulated in float, one layer at a time, on {scan.images:,} calibration {judging.unit} on "
            f"{here.device_name}, {text.ago(record.ended_at or record.created_at)}."
        )
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        offered = list(offered_of(scan))
        key = st.segmented_control(
            "What to show", offered, default=offered[0], required=True, format_func=lambda each: MEASURES[each].title,
            key=f"scan.measure.{record.id}",
        )  # fmt: skip
        order = st.segmented_control(
            "Order", ["As executed", "Most hurting first"], default="As executed", required=True,
            key=f"scan.order.{record.id}",
        )  # fmt: skip
    measure = MEASURES[str(key)]
    st.caption(f"{measure.help} The stronger the colour, the more it hurts; hatched: does not fit the layer.")
    by_hurt = order != "As executed"
    draw_heat(scan, measure, by_hurt=by_hurt, key=record.id)
    st.markdown(f"**{text.escape(worst_in_words(scan, measure))}**")
    draw_table(scan)
    draw_picker(subject, scan, key=record.id)
    draw_assignment(subject, scan)


def without_labels(scan: Scan) -> Scan:
    """The scan with nothing said of right and wrong, where what counts as right is what the network itself answered."""
    cells = tuple(cell.model_copy(update={"correct": None}) for cell in scan.cells)
    return scan.model_copy(update={"correct": None, "cells": cells})


def offered_of(scan: Scan) -> Mapping[str, Measure]:
    """The measures that the scan has; without labels only answers that changed."""
    return {key: each for key, each in MEASURES.items() if key != "lost" or scan.correct is not None}


def draw_heat(scan: Scan, measure: Measure, *, by_hurt: bool, key: str) -> None:
    """The heat map; a click on a tile picks its layer, or lets it go."""
    values = values_of(scan, measure)
    words = [["" if value is None else number(value, measure) for value in row] for row in values]
    order = sorted(range(len(scan.layers)), key=lambda place: -total_of(values[place])) if by_hurt else None
    places = list(order or range(len(scan.layers)))
    chart = f"scan.heat.{key}.{measure.title}.{by_hurt}.{STATE.get(f'scan.clicks.{key}', 0)}"

    def pick_clicked() -> None:
        for point in STATE[chart].selection.points:
            data = point["customdata"]
            row = int(next(iter(data.values())) if isinstance(data, Mapping) else data[0])
            toggle(f"scan.picked.{key}", scan.layers[places[row]])
            STATE[f"scan.clicks.{key}"] = STATE.get(f"scan.clicks.{key}", 0) + 1

    figure = figures.heat(scan, values, words, order=places, chosen=None, dark=is_dark())
    with st.container(height=min(640, int(figure.layout.height) + 24), border=True):
        st.plotly_chart(
            figure, key=chart, on_select=pick_clicked, selection_mode="points", config=PLAIN,
            alt=f"{measure.title} of each layer under each change",
        )  # fmt: skip
    unit = f" in {measure.unit}" if measure.unit else ""
    st.caption(f"{measure.title}{unit}. Click a tile to add its layer to those left alone below.")


def toggle(key: str, layer: str) -> None:
    """Add a layer to those picked, or take it away."""
    picked = list(STATE.get(key, ()))
    STATE[key] = [each for each in picked if each != layer] if layer in picked else [*picked, layer]


def values_of(scan: Scan, measure: Measure) -> list[list[float | None]]:
    """The measure of each layer and change; None where a change does not fit a layer."""
    cells = {(cell.layer, cell.change): cell for cell in scan.cells}
    found: list[list[float | None]] = []
    for layer in scan.layers:
        row = [cells.get((layer, change)) for change in scan.changes]
        found.append([None if cell is None else measure.value(scan, cell) for cell in row])
    return found


def number(value: float, measure: Measure) -> str:
    """A few digits: `0.39`, `12.5`, `0`.

    >>> number(0.0, MEASURES["changed"]), number(12.345, MEASURES["changed"]), number(0.00012, MEASURES["divergence"])
    ('0', '12.35', '0.00012')
    """
    if measure.decimals is None:
        return plain(value)
    shown = f"{value:.{measure.decimals}f}"
    return "0" if float(shown) == 0 else shown


def total_of(row: Sequence[float | None]) -> float:
    """All that is known of a layer, added up."""
    return sum(value for value in row if value is not None)


def worst_in_words(scan: Scan, measure: Measure) -> str:
    """Which three layers hurt most under the first change, and how much of the total they make up."""
    column = {layer: row[0] for layer, row in zip(scan.layers, values_of(scan, measure), strict=True)}
    known = {layer: max(0.0, value) for layer, value in column.items() if value is not None}
    change, total = CHANGES[scan.changes[0]], sum(known.values())
    if not total:
        return f"Under {change} no layer alone shows any loss on these images."
    worst = sorted(known, key=lambda layer: -known[layer])[:3]
    share = 100 * sum(known[layer] for layer in worst) / total
    names = ", ".join(f"{layer} ({number(known[layer], measure)} {measure.unit})" for layer in worst if known[layer])
    return f"Under {change} hurt most: {names}, {share:.0f} % of what all {len(known)} layers lose alone, added up."


def table_of(scan: Scan) -> pd.DataFrame:
    """A row for each cell, with every measure."""
    kinds = dict(zip(scan.layers, zip(scan.kinds, scan.parameters, strict=True), strict=True))
    rows = [
        {
            "layer": cell.layer,
            "kind": kinds[cell.layer][0],
            "parameters": kinds[cell.layer][1],
            "change": CHANGES[cell.change],
            **{key: measure.value(scan, cell) for key, measure in offered_of(scan).items()},
        }
        for cell in scan.cells
    ]
    return pd.DataFrame(rows)


def draw_table(scan: Scan) -> None:
    """The figures behind the tiles."""
    table = table_of(scan)
    columns: dict[str, Any] = {
        "layer": st.column_config.TextColumn("Layer", pinned=True),
        "kind": "Kind",
        "parameters": st.column_config.NumberColumn("Parameters", format="%,d"),
        "change": "Change",
        **{
            key: st.column_config.NumberColumn(
                f"{measure.title} ({measure.unit})",
                format="%.3g" if measure.decimals is None else f"%.{measure.decimals}f",
                help=measure.help,
            )
            for key, measure in offered_of(scan).items()
        },
    }
    with st.expander("These figures as a table", key="scan.table", icon=":material/table:"):
        st.dataframe(table, hide_index=True, column_config=columns, placeholder="", alt="Every layer and change")
        named = table.rename(columns={key: f"{each.title} ({each.unit})" for key, each in offered_of(scan).items()})
        st.download_button(
            "Download CSV", tables.to_csv(named), "sensitivity.csv", icon=":material/download:", on_click="ignore",
            key="scan.csv",
        )  # fmt: skip


def draw_picker(subject: Subject, scan: Scan, *, key: str) -> None:
    """The layers to leave alone, and the recipes that do."""
    st.subheader("Leave these layers alone")
    picked_key = f"scan.picked.{key}"
    column, count, button = st.columns([2, 3, 1.4], vertical_alignment="bottom")
    change: Change = column.selectbox(
        "That hurt most under", list(scan.changes), format_func=lambda each: CHANGES[each], key=f"scan.under.{key}"
    )
    most = count.slider("How many", 1, min(len(scan.layers), 20), min(3, len(scan.layers)), key=f"scan.most.{key}")
    button.button(
        "Pick them", key=f"scan.pick.{key}", icon=":material/playlist_add_check:", width="stretch",
        on_click=lambda: STATE.__setitem__(picked_key, worst(scan, change, most)),
    )  # fmt: skip
    picked = st.multiselect(
        "Layers", list(scan.layers), key=picked_key, placeholder="none picked yet: click tiles above, or Pick them",
        help="In a recipe these become the setting Keep in float, or Keep whole.",
    )  # fmt: skip
    with st.container(horizontal=True):
        for technique, (words, icon) in PICKERS.items():
            recipe = keeping(subject.recipe, technique, picked)
            reason = "Pick at least one layer." if not picked else why_refused(recipe)
            if st.button(words, key=f"scan.keep.{technique}.{key}", icon=icon, disabled=bool(reason),
                         help=reason or "Opens Optimise with these layers filled in."):  # fmt: skip
                STATE["optimise.open"] = recipe
                open_page("optimise")


def worst(scan: Scan, change: Change, count: int) -> list[str]:
    """The layers that hurt most under a change, by divergence, which tells even those apart that change no answer."""
    cells = sorted((cell for cell in scan.cells if cell.change == change), key=lambda cell: -cell.divergence)
    return [cell.layer for cell in cells[:count]]


def keeping(recipe: Recipe, technique: str, layers: Sequence[str]) -> Recipe:
    """The recipe's untouched network with one technique, which leaves these layers alone."""
    settings = TECHNIQUES[technique].model_validate({"keep": tuple(layers)})
    return recipe.model_copy(update={"name": "", "techniques": (settings,)})
