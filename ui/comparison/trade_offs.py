"""What variants can be traded for: any measure over any other, the best within budgets, and the whole of latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from core.judging import Judging
from experiments.choice import choose
from experiments.judging import of_frame
from experiments.measures import MEASURES, front, measure, numbers, unmeasured
from experiments.result import RunResult
from profiling.energy import Energy, NotMeasured
from ui import text
from ui.comparison.budgets import draw_answer, draw_budgets, marks
from ui.comparison.latencies import draw_latencies
from ui.comparison.selection import Selection
from ui.figures.axes import Axis, measured
from ui.figures.frame import PLAIN
from ui.figures.parallel import parallel
from ui.figures.pareto import Marks, trade_off

TAIL = 0.95
WHY_NOT = {
    "p95": "fewer calls than the 72 it needs",
    "energy": "measured by a version that did not measure energy",
}
"""Why a measure may be missing; for energy, where the result does not say it."""
DIGITS = {"accuracy": "%.2f", "throughput": "%,.0f"}
"""Columns of the table that need fewer digits than the others."""


def draw(selection: Selection) -> None:
    """Budgets and their answer, one measure over another, all measures, and the latencies call by call."""
    st.fragment(draw_measures)(selection)
    st.fragment(draw_latencies)(selection)


def draw_measures(selection: Selection) -> None:
    """All that depends on the budgets; drawn again by itself when one is moved."""
    frame = with_intervals(selection.frame, selection.results)
    with st.grid(2, min_column_width=400):
        budgets, objective = draw_budgets(selection)
        choice = choose(frame, budgets, objective)
        draw_answer(selection, choice, budgets)
    found = marks(frame, choice, budgets)
    x, y = draw_pareto(selection, frame, found)
    draw_parallel(selection, frame, found)
    draw_table(frame, x, y, found)


def with_intervals(frame: pd.DataFrame, results: Mapping[str, RunResult]) -> pd.DataFrame:
    """The variants with the ends of the 95 % intervals of p95, in ms, and energy, in J; NaN where there are none."""
    tails = [results[run_id].latency.interval_ms(TAIL) for run_id in frame.run_id]
    energies = [energy_interval(results[run_id].energy) for run_id in frame.run_id]
    columns = {
        name: pd.Series([ends[side] if ends else None for ends in found], index=frame.index, dtype=float)
        for found, names in ((tails, ("p95_low_ms", "p95_high_ms")), (energies, ("joules_low", "joules_high")))
        for side, name in enumerate(names)
    }
    return frame.assign(**columns)


def energy_interval(energy: Energy | NotMeasured | None) -> tuple[float, float] | None:
    """Both ends in joules per inference, or None."""
    return energy.joules_per_inference_interval if isinstance(energy, Energy) else None


def draw_pareto(selection: Selection, frame: pd.DataFrame, found: Marks) -> tuple[str, str]:
    """One measure over another, both chosen here; their keys, the one across first."""
    offered, titles = measured(frame), titles_of(selection.judging)
    with st.container(border=True):
        title, across, up = st.columns([2, 1, 1], vertical_alignment="center")
        title.markdown("**One measure over another** :small[:gray[and the Pareto front]]")
        y = up.selectbox(
            "Upwards",
            offered,
            offered.index("accuracy"),
            format_func=titles.__getitem__,
            key="pareto.y",
            persist_state="session",
        )
        others = [key for key in offered if key != y]
        start = others.index("p50") if "p50" in others else 0
        x = across.selectbox(
            "Across", others, start, format_func=titles.__getitem__, key="pareto.x", persist_state="session"
        )  # fmt: skip
        figure = trade_off(frame, x, y, selection.colours, ink=selection.ink, marks=found)
        words = f"{titles[y]} over {titles[x]} of each variant, with the Pareto front"
        st.plotly_chart(figure, key="pareto", config=PLAIN, alt=words)
        st.caption(" ".join(legend(frame, x, y, found)))
        for sentence in left_out(selection, frame, x, y):
            st.caption(text.escape(sentence))
    return x, y


def titles_of(judging: Judging) -> dict[str, str]:
    """How each measure is called."""
    return {key: measure(key, judging).title for key in MEASURES}


def legend(frame: pd.DataFrame, x: str, y: str, found: Marks) -> list[str]:
    """What the signs in the figure mean, those that are there."""
    placed = ~unmeasured(frame, x, y)
    return [
        "Dotted: the front, variants that no other one beats in both.",
        "Area of a disc: size of the file.",
        *(["Diamonds: variants of other models."] if frame.is_beside.any() else []),
        *(["Thin lines: 95 % intervals."] if any(Axis.of(frame, key).has_interval for key in (x, y)) else []),
        *(["Ring: chosen above."] if found.chosen else []),
        *(["Hollow: breaks a limit."] if found.breaks else []),
        *(["Shaded: beyond a limit."] if {x, y} & set(found.limits) else []),
        *(
            ["Faded: another variant is at least as good in both measures and better in one."]
            if (placed & ~front(frame, x, y)).any()
            else []
        ),
        "Point values decide; where intervals overlap, the order may be chance.",
    ]


def left_out(selection: Selection, frame: pd.DataFrame, x: str, y: str) -> list[str]:
    """Sentences on variants without a place in the figure, and on measures that are not offered."""
    offered, found, title = measured(frame), [], titles_of(selection.judging)
    for key in (x, y):
        if titles := list(frame.title[unmeasured(frame, key)]):
            found.append(f"Not placed, because {title[key].lower()} was not measured: {', '.join(titles)}.")
    for key in [key for key in MEASURES if key not in offered]:
        reason = why_unmeasured(key, selection.results)
        found.append(f"{title[key]} is not offered: no variant here has it ({reason}).")
    return found


def why_unmeasured(key: str, results: Mapping[str, RunResult]) -> str:
    """Why no variant has a measure, in a few words."""
    reasons = [result.energy.reason for result in results.values() if isinstance(result.energy, NotMeasured)]
    return reasons[0] if key == "energy" and reasons else WHY_NOT.get(key, "not measured")


def draw_parallel(selection: Selection, frame: pd.DataFrame, found: Marks) -> None:
    """All measures at once."""
    with st.container(border=True):
        st.markdown("**All measures at once** :small[:gray[a line for each variant, better is always up]]")
        figure = parallel(frame, selection.colours, ink=selection.ink, chosen=found.chosen)
        st.plotly_chart(figure, key="parallel", config=PLAIN, alt="All measures of each variant, better is up")
        st.caption(
            "Each axis reaches from the worst to the best of these variants, so it shows their order, not how much "
            "they differ: read the numbers at its ends."
            + (" Thick: chosen above." if found.chosen else "")
            + (" Dotted: variants of other models." if selection.has_beside else "")
        )


def draw_table(frame: pd.DataFrame, x: str, y: str, found: Marks) -> None:
    """The figures behind both pictures."""
    (table, config), titles = figures_of(frame), titles_of(of_frame(frame))
    table["front"] = front(frame, x, y)
    table["breaks"] = frame.run_id.map(lambda run_id: found.breaks.get(run_id, ""))
    config |= {
        "front": st.column_config.CheckboxColumn(
            "On the front", help=f"No other variant is at least as good in {titles[x]} and {titles[y]} and better "
            "in one of them."
        ),
        "breaks": "Breaks",
    }  # fmt: skip
    with st.expander("These figures as a table", key="trade-offs.table", icon=":material/table:"):
        st.dataframe(table, hide_index=True, column_config=config, placeholder="n/a", alt="All measures")


def figures_of(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Every measure that any variant has, in its unit, and how its column is called."""
    shown = [measure(key, of_frame(frame)) for key in measured(frame)]
    table = pd.DataFrame({each.key: numbers(frame, each.column) * each.scale for each in shown})
    table.insert(0, "title", frame.title)
    formats = {
        each.key: st.column_config.NumberColumn(each.title, format=f"{DIGITS.get(each.key, '%.3f')} {unit}")
        for each in shown
        for unit in [each.unit.replace("%", "%%")]
    }
    return table, {"title": st.column_config.TextColumn("Variant", pinned=True), **formats}
