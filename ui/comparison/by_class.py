"""How each class fares in each variant."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.judging import Judging
from experiments.flips import class_accuracy, class_changes
from experiments.models import contract
from ui import tables, text
from ui.comparison.case import Case
from ui.comparison.selection import Selection
from ui.figures.classes import MOST_CLASSES, cells, changed_classes, class_map
from ui.figures.frame import PLAIN
from ui.state import is_dark


def draw_classes(selection: Selection, case: Case) -> None:
    """How each class fares in each variant."""
    reference, judging = selection.titles[case.before.id], case.flips.judging
    st.subheader("Class by class")
    variants = {
        title: selection.results[run_id].accuracy.predictions.integers
        for run_id, title in selection.titles.items()
        if run_id != case.before.id
    }
    changes = class_changes(case.flips.split, case.flips.before.predictions, variants, contract(selection.model).labels)
    shown = changed_classes(changes)
    if not shown:
        st.markdown(f"No class gained or lost {article(judging.example)} in any variant.")
        return
    st.caption(
        f"Points of {judging.noun} that each class gained or lost against {text.escape(reference)}. A star marks what "
        f"is more than chance: McNemar's exact test on the {judging.unit} of the class, corrected for the number of "
        "cells (Holm). " + left_out(len(changes.points), len(shown))
    )
    by_title = dict(zip(selection.frame.title, selection.frame.digest.map(selection.colours), strict=True))
    figure = class_map(changes, colours=by_title, ink=selection.ink, dark=is_dark())
    st.plotly_chart(figure, key="pays.classes", config=PLAIN, alt="Change of each class in each variant")
    draw_class_tables(selection, case, cells(changes))


def article(noun: str) -> str:
    """`an image`, `a text`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def left_out(classes: int, shown: int) -> str:
    """Which classes a map does not show."""
    if shown == classes:
        return ""
    return f"Shown: {shown} of {classes} classes, those that changed{' most' if shown == MOST_CLASSES else ''}."


def draw_class_tables(selection: Selection, case: Case, table: pd.DataFrame) -> None:
    """The accuracy of each class before and after with intervals, and the numbers behind the map."""
    judging = case.flips.judging
    words = f"{judging.title} of each class"
    with st.expander(f"{words}, and every cell as a table", key="pays.tables", icon=":material/table:"):
        st.markdown(f"**{text.escape(selection.titles[case.after.id])}**, 95 % Wilson intervals")
        st.dataframe(by_class(case), hide_index=True, column_config=named(CLASS_COLUMNS, judging), alt=words)
        st.markdown("**Every class in every variant**")
        st.dataframe(
            table, hide_index=True, column_config=named(CELL_COLUMNS, judging), alt="Every class in every variant"
        )
        st.download_button(
            "Download CSV", tables.to_csv(table), f"{selection.model}-classes.csv", "text/csv",
            icon=":material/download:", key="pays.classes.csv", on_click="ignore",
        )  # fmt: skip


CLASS_COLUMNS: dict[str, Any] = {
    "name": "Class",
    "before": st.column_config.NumberColumn("Before", format="%.1f %%"),
    "before_interval": "95 % interval",
    "after": st.column_config.NumberColumn("After", format="%.1f %%"),
    "after_interval": st.column_config.TextColumn("95 % interval "),
    "change": st.column_config.NumberColumn("Change", format="%+.2f points"),
}
CELL_COLUMNS: dict[str, Any] = {
    "class": "Class",
    "variant": "Variant",
    "points": st.column_config.NumberColumn("Change", format="%+.2f points"),
    "lost": st.column_config.NumberColumn("Lost", format="%,d", help="Good answers of the reference that it lacks."),
    "gained": st.column_config.NumberColumn("Gained", format="%,d", help="Good answers that the reference lacks."),
    "p_value": st.column_config.NumberColumn("p", format="%.3f", help="McNemar's exact test, after Holm's correction."),
    "significant": "More than chance",
}


def named(columns: dict[str, Any], judging: Judging) -> dict[str, Any]:
    """The columns with that of the counted examples."""
    return columns | {"images": st.column_config.NumberColumn(judging.unit.capitalize(), format="%,d")}


def by_class(case: Case) -> pd.DataFrame:
    """A row for each class with images: its accuracy before and after, in percent, with intervals."""
    split, names = case.flips.split, [*case.names]
    before, after = (class_accuracy(split, each.predictions, names) for each in (case.flips.before, case.flips.after))
    return pd.DataFrame(
        {
            "name": before.name,
            "images": before.images,
            "before": 100 * before.accuracy,
            "before_interval": intervals(before),
            "after": 100 * after.accuracy,
            "after_interval": intervals(after),
            "change": 100 * (after.accuracy - before.accuracy),
        }
    )


def intervals(table: pd.DataFrame) -> list[str]:
    """`91.2 to 94.0 %`."""
    return [f"{100 * low:.1f} to {100 * high:.1f} %" for low, high in zip(table.low, table.high, strict=True)]
