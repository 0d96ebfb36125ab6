"""What the person can spend, and the best variant within it: sliders, the answer in words, and what is left."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from experiments.choice import BUDGETS, Budgets, Choice, spent
from experiments.choice import budget as named
from experiments.compare import DISTURBED
from experiments.judging import of_frame
from experiments.measures import NO_DIFFERENCE, measure, numbers
from ui import tables, text
from ui.comparison.selection import Selection
from ui.figures.axes import measured, number
from ui.figures.pareto import Marks

NO_LIMIT = math.inf
ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
"""Steps of a slider in a decade."""
FINEST_POINTS = 0.1
"""The least loss of accuracy, beside none and the variants' own, that can be asked for, in points."""
DIGITS = 3
"""Of a step: a variant's own value is rounded up to so many, so that it still fits."""


def draw_budgets(selection: Selection) -> tuple[Budgets, str]:
    """The limits as they are set on screen, and the key of the measure that is to be as good as possible."""
    frame, prefix = selection.frame, f"budget.{selection.model}"
    keys = [key for key in BUDGETS if spent(frame, key).notna().any()]
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("**What a variant may cost**", width="content")
            st.space("stretch")
            st.button("No limits", icon=":material/restart_alt:", type="tertiary", key=f"{prefix}.reset",
                on_click=remove_limits, args=([f"{prefix}.{key}" for key in keys],))  # fmt: skip
        with st.grid(2, min_column_width=200, gap=("small", "medium")):
            limits = {key: draw_limit(frame, key, f"{prefix}.{key}") for key in keys}
            objective = st.selectbox(
                "Among those that fit, find the", offered := measured(frame), offered.index("p50"),
                format_func=lambda key: measure(key, selection.judging).superlative, key=f"{prefix}.objective",
                persist_state="session",
            )  # fmt: skip
    return Budgets(**{key: limit for key, limit in limits.items() if limit < NO_LIMIT}), objective


def draw_limit(frame: pd.DataFrame, key: str, widget: str) -> float:
    """A slider from the best variant to no limit at all; the limit in the budget's own unit."""
    budget = named(key, of_frame(frame))
    offered = steps(spent(frame, key) * budget.scale, counts_from_zero=key == "points_lost")
    # A limit once set stays when variants come and go.
    if (kept := st.session_state.get(widget, NO_LIMIT)) not in offered:
        offered = sorted([*offered, kept])
    helps = {"points_lost": "Percentage points below the baseline.", "joules": "Of one inference, above idle."}
    limit = st.select_slider(
        f"{budget.title}, at most", offered, NO_LIMIT, key=widget, persist_state="session", help=helps.get(key),
        format_func=lambda value: amount(value, budget.unit),
    )  # fmt: skip
    return float(limit) / budget.scale


def amount(value: float, unit: str) -> str:
    """A limit as the slider shows it."""
    if value == NO_LIMIT:
        return "no limit"
    return f"{value:g} {'point' if value == 1 and unit == 'points' else unit}"


def remove_limits(widgets: list[str]) -> None:
    """Set these sliders to their end."""
    for widget in widgets:
        st.session_state[widget] = NO_LIMIT


def steps(values: pd.Series[float], *, counts_from_zero: bool = False) -> list[float]:
    """What a slider over these values offers, in their unit: round amounts, each variant's own rounded up, no limit.

    Any two variants that differ by more than a hundredth have a step between them. `counts_from_zero` is for losses, of
    which none is the least.
    """
    known = values[values > 0]
    own = {rounded_up(value) for value in known}
    highest = known.max() if len(known) else 0.0
    lowest = FINEST_POINTS if counts_from_zero else known.min() if len(known) else math.inf
    if highest > 0:
        powers = range(math.floor(math.log10(min(lowest, highest))) - 1, math.ceil(math.log10(highest)) + 1)
        around = sorted(float(f"{digit * 10.0**power:.{DIGITS}g}") for power in powers for digit in ROUND)
        below = [] if counts_from_zero else [step for step in around if step < lowest][-1:]
        own |= {*below, *(step for step in around if lowest <= step)}
    return [*([0.0] if counts_from_zero else []), *sorted(step for step in own if step < highest), NO_LIMIT]


def rounded_up(value: float) -> float:
    """The smallest number of three digits that is not below this positive one."""
    unit = 10.0 ** (math.floor(math.log10(value)) - DIGITS + 1)
    # What floats add to exact values is not a reason to go up.
    return float(f"{math.ceil(value / unit - 1e-6) * unit:.{DIGITS}g}")


def draw_answer(selection: Selection, choice: Choice, budgets: Budgets) -> None:
    """The best variant that fits, what stands in the way of a better one, and what is left of each budget."""
    first, *others = choice.sentences
    with st.container(border=True, height="stretch"):
        with st.container(gap=None):
            st.caption("The best within these limits" if budgets.limits else "The best of all: no limit is set")
            mark = "" if choice.run_id else ":orange[:material/block:] "
            st.subheader(mark + text.escape(first), anchor=False)
        if choice.run_id:
            draw_verdicts(selection, choice.run_id)
        for price, sentence in zip(choice.binding, others, strict=False):
            title = named(price.budget, choice.judging).title
            st.markdown(f":blue[:material/lock:] **{title} binds.** {text.escape(sentence)}")
        for sentence in others[len(choice.binding) :]:
            st.markdown(text.escape(sentence))
        if choice.slack:
            st.table(slack(choice, budgets), border="horizontal", hide_index=True, alt="Budgets")


def draw_verdicts(selection: Selection, run_id: str) -> None:
    """How the variant differs from the baseline, where statistics tell a difference."""
    row = selection.row(run_id)
    if row.is_baseline or selection.baseline is None:
        return
    words = [
        (row.latency_verdict, "faster", "speed"),
        (row.accuracy_verdict, "+", selection.judging.noun),
        (tables.ratio_in_words(row.size_ratio), "smaller", "size"),
    ]
    st.markdown("Against the baseline: " + " ".join(verdict_badge(*each) for each in words))


def verdict_badge(words: str, good: str, measure: str) -> str:
    """A difference as markdown: green where it is good, red where it is bad, grey where there is none or a doubt."""
    if words in (NO_DIFFERENCE, tables.SAME):
        return f":gray-badge[{measure}: {words}]"
    if words.endswith(DISTURBED):
        return f":gray-badge[{text.escape(words)}]"
    return f":{'green' if good in words else 'red'}-badge[{text.escape(words)}]"


def slack(choice: Choice, budgets: Budgets) -> pd.DataFrame:
    """For each budget that is set its limit, what the chosen variant spends of it and what is left."""
    binding = {price.budget for price in choice.binding}
    rows = []
    for key, left in (choice.slack or {}).items():
        budget, limit = named(key, choice.judging), budgets.limits[key]
        amounts = [f"{number(value * budget.scale)} {budget.unit}" for value in (limit, limit - left, left)]
        rows.append((budget.title, *amounts, "yes" if key in binding else "no"))
    return pd.DataFrame(rows, columns=["Budget", "At most", "It needs", "Left", "Binds"])


def marks(frame: pd.DataFrame, choice: Choice, budgets: Budgets) -> Marks:
    """What the figures show of a choice: the chosen variant, those that break a budget, and the limits."""
    breaks: dict[str, list[str]] = {run_id: [] for run_id in frame.run_id}
    for key, limit in budgets.limits.items():
        for run_id, amount in zip(frame.run_id, spent(frame, key), strict=True):
            if not amount <= limit:
                title = named(key, choice.judging).title
                breaks[run_id].append(title + (" (not measured)" if math.isnan(amount) else ""))
    limits = {BUDGETS[key].measure: _as_measured(frame, key, limit) for key, limit in budgets.limits.items()}
    return Marks(
        chosen=choice.run_id,
        breaks={run_id: ", ".join(titles) for run_id, titles in breaks.items() if titles},
        limits={measure: limit for measure, limit in limits.items() if not math.isnan(limit)},
    )


def _as_measured(frame: pd.DataFrame, key: str, limit: float) -> float:
    """A budget as a value of its measure's column: points lost become an accuracy; NaN without a baseline."""
    if key != "points_lost":
        return limit
    baselines = numbers(frame, "accuracy")[frame.is_baseline.astype(bool)]
    return float(baselines.iloc[0]) - limit / 100 if len(baselines) else math.nan
