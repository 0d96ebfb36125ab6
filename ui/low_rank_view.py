"""What factorising did to a network, layer by layer, and what another energy would leave."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.errors import StudioError
from core.low_rank import LowRankReport
from experiments.low_rank import KEY, energy_curves, layer_table, predicted, recipe_at
from experiments.models import is_here
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from optimizers import TECHNIQUES
from ui import text
from ui.figures.frame import PLAIN
from ui.figures.low_rank import spectra
from ui.state import colours, ink, open_page

COLUMNS: dict[str, Any] = {
    "place": st.column_config.NumberColumn("#", width=40, help="In the order of execution."),
    "name": st.column_config.TextColumn("Layer", width="medium", pinned=True),
    "kind": "Kind",
    "inputs": st.column_config.NumberColumn("Inputs", format="%,d"),
    "outputs": st.column_config.NumberColumn("Outputs", format="%,d"),
    "full_rank": st.column_config.NumberColumn("Full rank", help="The smaller of inputs and outputs."),
    "rank": st.column_config.NumberColumn("Rank", help="Of the two new layers; the full rank where it was kept whole."),
    "energy": st.column_config.NumberColumn("Energy kept", format="percent"),
    "parameters_before": st.column_config.NumberColumn("Parameters before", format="%,d"),
    "parameters_after": st.column_config.NumberColumn("Parameters after", format="%,d"),
    "macs_before": st.column_config.NumberColumn("MACs before", format="%,d", help="For one image."),
    "macs_after": st.column_config.NumberColumn("MACs after", format="%,d", help="For one image."),
    "why_kept": st.column_config.TextColumn("Why kept whole", width="large"),
}
ENERGY_OF = {
    True: "Energy is the mean square of what a layer puts out, as the calibration images show it: directions that no "
    "input uses count for nothing. ",
    False: "Energy is the sum of a weight's squared singular values, whatever comes in. ",
}
HOW = (
    "One line a layer; coloured where a rank saves arithmetic, thin and grey where two layers would take more than "
    "one. A line that meets the wanted energy only on its grey part belongs to a layer that stays whole."
)


def draw_low_rank(report: LowRankReport, record: RunRecord) -> None:
    """The headline and, in tabs, the spectra with a slider over the energy, and every layer of a finished run."""
    with st.container(border=True, key="low-rank"):
        st.markdown(f"**Factorised layer by layer** · {text.escape(headline(report))}")
        energies, layers = st.tabs(["Energy", "All layers"], key="low-rank.tab", on_change="rerun")
        if energies.open:
            with energies:
                draw_energies(report, record)
        if layers.open:
            with layers:
                st.dataframe(
                    layer_table(report), hide_index=True, column_config=COLUMNS, placeholder="",
                    key="low-rank.table", alt="Every layer before and after factorising",
                )  # fmt: skip


def headline(report: LowRankReport) -> str:
    """`25 of 25 layers became two, keeping 98 % of the energy of what they put out (...). Parameters ...`."""
    of_what = f"what they put out on {report.images:,} calibration images" if report.activation_aware else "the weights"
    return (
        f"{len(report.factorised)} of {len(report.layers)} layers became two, to keep {100 * report.energy:.4g} % of "
        f"the energy of {of_what}. Multiply-accumulates {_change(report.macs_before, report.macs_after)}, parameters "
        f"{_change(report.parameters_before, report.parameters_after)}."
    )


def _change(before: int, after: int) -> str:
    return f"{text.count(before)} → {text.count(after)} ({before / after:.2f}x fewer)"


def draw_energies(report: LowRankReport, record: RunRecord) -> None:
    """A slider over the energy, what it would leave, and the spectra that tell."""
    energy = draw_slider(report, record)
    shown = predicted(report, energy)
    draw_prediction(report, shown)
    curves = energy_curves(report)
    if curves.empty:
        st.caption("Every layer is kept whole at any energy: there is no spectrum to draw.")
    else:
        colour = colours([record])[record.recipe.digest]
        figure = spectra(curves, layer_table(shown), energy, colour=colour, ink=ink())
        st.plotly_chart(figure, key=f"low-rank.spectra.{record.id}", config=PLAIN, alt="Energy kept over the rank")
        st.caption(ENERGY_OF[report.activation_aware] + HOW)
    draw_opener(energy, record)
    with st.expander("Layers at this energy", key=f"low-rank.predicted.{record.id}"):
        st.dataframe(
            layer_table(shown), hide_index=True, column_config=COLUMNS, placeholder="",
            key=f"low-rank.predicted-table.{record.id}", alt="Every layer as predicted",
        )  # fmt: skip


def draw_slider(report: LowRankReport, record: RunRecord) -> float:
    """The energy to look at; the run's own to begin with."""
    field = TECHNIQUES[KEY].model_fields["energy"]
    low, high = (next(getattr(each, name) for each in field.metadata if hasattr(each, name)) for name in ("ge", "le"))
    energy = st.slider(
        "Energy to keep", float(low), float(high), min(max(report.energy, low), high), 0.001, format="%.3f",
        key=f"low-rank.energy.{record.id}", help="Nothing is run: all follows from the stored singular values.",
    )  # fmt: skip
    return float(energy)


def draw_prediction(report: LowRankReport, shown: LowRankReport) -> None:
    """Layers, parameters and multiply-accumulates, each beside what the run has."""
    differs = shown.energy != report.energy
    with st.container(horizontal=True):
        for title, attribute, help in (
            ("MACs", "macs_after", "For one image, of the whole network."),
            ("Parameters", "parameters_after", "Of the whole network."),
        ):
            now, before = getattr(shown, attribute), getattr(shown, attribute.replace("after", "before"))
            value = text.count(now)
            below = f"{before / now:.2f}x fewer than before"
            if differs:
                below += f", {_against(now, getattr(report, attribute))}"
            _metric(f"{title}, predicted" if differs else title, value, below, help)
        below = f"of {len(shown.layers):,}" + (f", {len(report.factorised):,} in this run" if differs else "")
        _metric("Layers that become two", f"{len(shown.factorised):,}", below, "The others stay whole.")


def _against(now: int, ours: int) -> str:
    return "as in this run" if now == ours else f"{100 * (now / ours - 1):+.0f} % against this run"


def _metric(label: str, value: str, below: str, help: str) -> None:
    st.metric(label, value, below, delta_color="gray", delta_arrow="off", border=True, height="stretch", help=help)


def draw_opener(energy: float, record: RunRecord) -> None:
    """The way to a recipe with this energy, or why there is none."""
    recipe, reason = opened_with(energy, record)
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Open with this energy", icon=":material/tune:", disabled=recipe is None,
            key=f"low-rank.open.{record.id}", help="This run's recipe with that energy, on the Optimise page.",
        )  # fmt: skip
        if reason:
            st.caption(text.escape(reason), width="content")
    if pressed and recipe:
        st.session_state["optimise.open"] = recipe
        open_page("optimise")


def opened_with(energy: float, record: RunRecord) -> tuple[Recipe | None, str]:
    """The recipe, or None with the reason."""
    if not is_here(record.recipe.model):
        return None, "The model of this run is not here any more."
    try:
        recipe = recipe_at(record.recipe, energy)
    except StudioError as error:
        return None, str(error)
    if recipe.digest == record.recipe.digest:
        return None, "This run has that energy: move the slider."
    return recipe, ""
