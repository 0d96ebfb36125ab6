"""What each technique of a recipe contributed to accuracy, latency and size, from its subsets, each measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.errors import BadInput
from core.judging import Judging
from experiments.attribution import (
    FEWEST,
    MOST,
    SHARED,
    Attribution,
    Subset,
    attribute,
    missing,
    order_sentence,
    orders,
    orders_measured,
    subsets,
)
from experiments.compare import variants
from experiments.judging import of_record
from experiments.measures import MEASURES, measure
from experiments.models import judging_of
from experiments.recipe import Recipe
from experiments.references import reference_of
from experiments.run_record import RunRecord
from profiling.statistics import SMALLEST_SPEEDUP
from ui import text
from ui.comparison.missing import draw_missing
from ui.comparison.selection import Selection, draw_own
from ui.comparison.trained_on import draw_training_of
from ui.figures.attribution import contributions
from ui.figures.frame import PLAIN
from ui.live import duration
from ui.state import open_page, store

HOW = (
    "**Bars** are Shapley values: what a technique adds, averaged over all orders in which the techniques can join, so "
    "that they add up to what all do together, against the untouched model in the same runtime.",
    "**○ alone**: added to the untouched model.  \n**◆ on top of the others**: added last.",
    "**├─┤** 95 % interval over the test examples.",
    f"A latency that differs by less than {100 * (SMALLEST_SPEEDUP - 1):.0f} % is within a machine's drift.",
)
REMARKS = {
    "accuracy": "percentage points",
    "p50": "times faster, logarithmic axis",
    "size": "times smaller, logarithmic axis",
    "gzip": "times smaller after gzip, logarithmic axis",
}


def draw(selection: Selection) -> None:
    """One recipe with several techniques, taken apart."""
    selection = draw_own(selection)
    candidates = [record for record in selection.records if can_be_taken_apart(record.recipe)]
    if not candidates:
        draw_empty(selection)
        return
    titles = selection.titles
    run_id = st.selectbox(
        "Recipe", [record.id for record in candidates], format_func=titles.__getitem__, key="attribution.recipe",
        help=f"Those of the chosen variants with {FEWEST} to {MOST} techniques.",
    )  # fmt: skip
    recipe = selection.record(run_id).recipe
    found = finished_subsets(recipe)
    if lacking := missing(recipe, [record.recipe.digest for record in found.values()]):
        draw_progress(recipe, found, lacking)
        return
    try:
        taken_apart = attribute(recipe, variants([*found.values()]), correct=correct_images(found))
    except BadInput as error:
        st.warning(text.escape(str(error)), icon=":material/warning:")
        return
    st.markdown(total_sentence(recipe, taken_apart))
    draw_training_of(selection, run_id)
    draw_contributions(taken_apart, colour=selection.colours[recipe.digest], ink=selection.ink)
    draw_table(taken_apart, found)
    draw_orders(recipe)


def can_be_taken_apart(recipe: Recipe) -> bool:
    """Whether it has as many different techniques as can be told apart."""
    keys = [technique.key for technique in recipe.techniques]
    return FEWEST <= len(keys) <= MOST and len(set(keys)) == len(keys)


def draw_empty(selection: Selection) -> None:
    """Which recipe would make this page useful."""
    st.info(
        f"None of the chosen variants has {FEWEST} to {MOST} techniques. Put two into one recipe, such as structured "
        "pruning and then INT8, run it, and this page tells what each of them contributed.",
        icon=":material/info:",
    )
    if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="attribution.optimise"):
        open_page("optimise", model=selection.model)


def finished_subsets(recipe: Recipe) -> dict[Subset, RunRecord]:
    """The newest finished run of each subset of the recipe, measured in exactly the same way."""
    runs = {subset: store().finished_before(each) for subset, each in subsets(recipe).items()}
    return {subset: record for subset, record in runs.items() if record}


def correct_images(found: dict[Subset, RunRecord]) -> dict[Subset, NDArray[np.bool_]] | None:
    """Which test images each subset gets right; None where they were not all measured on as many."""
    results = store().results([record.id for record in found.values()])
    correct = {
        subset: _right(results[record.id].accuracy.total, results[record.id].accuracy.wrong.integers)
        for subset, record in found.items()
    }
    return correct if len({len(each) for each in correct.values()}) == 1 else None


def _right(total: int, wrong: NDArray[np.int64]) -> NDArray[np.bool_]:
    right = np.ones(total, bool)
    right[wrong] = False
    return right


def draw_progress(recipe: Recipe, found: dict[Subset, RunRecord], lacking: dict[Subset, Recipe]) -> None:
    """How many of the subsets are measured, which are not, and the button that runs them."""
    total = len(found) + len(lacking)
    st.markdown(
        f"To tell what each technique contributes, the recipe has to be run without each of them: {total} runs in "
        "exactly the same way, of which these are missing:"
    )
    st.progress(len(found) / total, f"{len(found)} of {total} measured")
    draw_missing(list(lacking.values()), key="attribution", takes=expected_time(found, lacking))


def expected_time(found: dict[Subset, RunRecord], lacking: dict[Subset, Recipe]) -> str:
    """About how long the missing runs take, each as long as the finished one that is most like it; empty if unknown."""
    took = {
        subset: record.ended_at - record.started_at
        for subset, record in found.items()
        if record.started_at and record.ended_at
    }
    if not took:
        return ""
    seconds = sum(took[min(took, key=lambda other: len(other ^ subset))] for subset in lacking)
    return f"About {duration(seconds)}, if each takes as long as the finished one most like it."


def total_sentence(recipe: Recipe, found: Attribution) -> str:
    """What all techniques do together, as markdown."""
    gains = {key: total if MEASURES[key].words is None else math.log(total) for key, total in found.totals.items()}
    words = ", ".join(f"**{MEASURES[key].in_words(gain)}**" for key, gain in gains.items())
    done = " + ".join(recipe.labels)
    return f"**{text.escape(done)}** against **{text.escape(reference_of(recipe).title)}**: {words}."


def draw_contributions(found: Attribution, *, colour: str, ink: str) -> None:
    """A panel of bars for each measure, and the same in sentences."""
    with st.grid(2, min_column_width=300):
        for key, total in found.totals.items():
            title = measure(key, found.judging).title
            with st.container(border=True):
                st.markdown(f"**{title}** :small[:gray[{REMARKS[key]}]]")
                rows = found.table[found.table.measure == key]
                figure = contributions(rows, total, colour=colour, ink=ink)
                words = f"What each technique contributed to {title.lower()}"
                st.plotly_chart(figure, key=f"attribution.{key}", config=PLAIN, alt=words)
    with st.container(border=True):
        st.markdown("**How to read this**")
        for paragraph in HOW:
            st.caption(paragraph)
    st.markdown("\n".join(f"- {text.escape(sentence)}" for sentence in found.sentences))


def draw_table(taken_apart: Attribution, found: dict[Subset, RunRecord]) -> None:
    """The contributions and the measured subsets behind them."""
    with st.expander("Contributions and subsets as tables", key="attribution.table", icon=":material/table:"):
        table = taken_apart.table.drop(columns=["technique", "words"])
        table["measure"] = [measure(key, taken_apart.judging).title for key in table.measure]
        st.dataframe(table, hide_index=True, column_config=CONTRIBUTION_COLUMNS, placeholder="", alt="Contributions")
        frame = variants([*found.values()])
        columns = ["title", *(MEASURES[key].column for key in SHARED)]
        st.dataframe(in_units(frame[columns]), hide_index=True, column_config=measured_columns(taken_apart.judging),
                     alt="Measured subsets")  # fmt: skip


CONTRIBUTION_COLUMNS: dict[str, Any] = {
    "title": "Technique",
    "measure": "Measure",
    "scale": "In",
    "contribution": st.column_config.NumberColumn("Contribution", format="%.3f"),
    "first_in": st.column_config.NumberColumn("Alone", format="%.3f"),
    "last_in": st.column_config.NumberColumn("On top of the others", format="%.3f"),
    "low": st.column_config.NumberColumn("From", format="%.3f", help="Lower end of the 95 % interval."),
    "high": st.column_config.NumberColumn("To", format="%.3f", help="Upper end of the 95 % interval."),
}
MEASURED_COLUMNS: dict[str, Any] = {
    "title": "Variant",
    "order": "Order",
    "p50_ms": st.column_config.NumberColumn("p50", format="%.3f ms"),
    "size_bytes": st.column_config.NumberColumn("Size", format="%.3f MiB"),
    "gzip_bytes": st.column_config.NumberColumn("Compressed", format="%.3f MiB"),
}


def measured_columns(judging: Judging) -> dict[str, Any]:
    """The columns of measured variants."""
    return MEASURED_COLUMNS | {"accuracy": st.column_config.NumberColumn(judging.title, format="%.2f %%")}


def in_units(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares in percent and bytes in MiB, as the columns say."""
    in_mib = {name: frame[name] / text.MIB for name in ("size_bytes", "gzip_bytes")}
    return frame.assign(accuracy=100 * frame.accuracy, **in_mib)


def draw_orders(recipe: Recipe) -> None:
    """In which other orders the techniques could be applied, and what came of those that were."""
    st.subheader("Order of application")
    st.markdown(text.escape(order_sentence(recipe)))
    possible = orders(recipe)
    if len(possible) < 2:
        return
    runs = [store().finished_before(each) for each in possible]
    judging = next((of_record(record) for record in runs if record), judging_of(recipe.model))
    measured = orders_measured(recipe, variants([record for record in runs if record]))
    st.dataframe(
        in_units(measured.drop(columns=["digest", "run_id"])), hide_index=True,
        column_config=measured_columns(judging), placeholder="not run yet", alt="Orders of application",
    )  # fmt: skip
    if lacking := [each for each, record in zip(possible, runs, strict=True) if record is None]:
        st.markdown("Another order gives another model. Not run yet:")
        draw_missing(lacking, key="orders")
