"""The report for others: what it will say, what the author decides about it, and the file to take away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, get_args

import pandas as pd
import streamlit as st

from core.errors import BadInput
from experiments.cost import SYMBOLS, Currency, Price
from experiments.key_figures import KeyFigure
from experiments.recommendation import candidates, recommend
from experiments.report import Report, Wishes, compose, default_title
from ui import text
from ui.comparison.selection import Selection
from ui.report import html_of, library_bytes

LONGEST_TITLE = 120
PER: dict[Literal["hour", "kwh"], str] = {"hour": "Machine-hour", "kwh": "kWh"}
UNITS = {"hour": "hour of the machine", "kwh": "kWh of electricity"}
COLOURS = {"better": "green", "worse": "red", "same": "gray"}
PREVIEW, PREVIEW_HEIGHT = "report.preview", 900
HOLDS = (
    "headline and key figures", "all variants with their differences", "charts that can be explored", "percentiles",
    "costs, if you enter a price", "conditions of every measurement", "recipes", "terms", "what it does not say",
)  # fmt: skip
COST_COLUMNS: dict[str, Any] = {
    "variant": "Variant",
    "cost": st.column_config.TextColumn("Per million images", alignment="right"),
    "saving": st.column_config.TextColumn(
        "Against the baseline",
        help="Only where the time, or the energy, from which the costs are computed differs measurably.",
    ),
}


def draw(selection: Selection) -> None:
    """The author's wishes on the left, what the report says on the right."""
    if candidates(selection.frame).empty:
        st.info("Choose a variant beside the baseline above: a report recommends one of them.", icon=":material/info:")
        return
    left, right = st.columns([1, 2], gap="medium")
    with left:
        wishes = draw_wishes(selection)
    if wishes is None:
        return
    report = compose(selection.frame, selection.records, selection.results, wishes, at=datetime.now(UTC))
    with right:
        draw_report(report)
        draw_download(selection, report)
    if st.session_state.get(PREVIEW):
        st.iframe(html_of(report), height=PREVIEW_HEIGHT, alt="The report")


def draw_wishes(selection: Selection) -> Wishes | None:
    """What the author decides; None where what was entered cannot be, which is then said."""
    st.subheader("Your report")
    title = st.text_input(
        "Title", max_chars=LONGEST_TITLE, placeholder=default_title(selection.model), key="report.title"
    )
    recommended = draw_recommended(selection)
    st.markdown("**Cost**")
    try:
        return Wishes(title=title, recommended=recommended, price=draw_price())
    except BadInput as error:
        st.error(text.escape(str(error)), icon=":material/error:")
        return None


def draw_recommended(selection: Selection) -> str:
    """The run to recommend: the one that statistics pick, unless the author picks another."""
    offered = list(candidates(selection.frame).run_id)
    by_statistics = recommend(selection.frame).run_id
    chosen: str = st.selectbox(
        "Recommended variant", offered, offered.index(by_statistics), format_func=selection.titles.__getitem__,
        key=f"report.recommended.{by_statistics}",
        help=f"At first the fastest of those without a measurable loss of {selection.judging.noun}, or else the "
        "one that loses least.",
    )  # fmt: skip
    return chosen


def draw_price() -> Price | None:
    """What electricity or the machine costs; None until an amount is entered. Raises `BadInput`."""
    per = st.segmented_control(
        "Price per", list(PER), default="hour", required=True, format_func=PER.__getitem__, key="report.per",
        help="An hour of the GPU or machine, rented or written off; or a kilowatt-hour, for electricity alone.",
    )  # fmt: skip
    currency = st.segmented_control(
        "Currency", get_args(Currency), default="USD", required=True, key="report.currency",
        help="Currencies are never converted.",
    )  # fmt: skip
    amount = st.number_input(
        f"{SYMBOLS[currency]} per {UNITS[per]}", min_value=0.0, value=None, step=0.01, format="%.4g",
        placeholder="what you pay", key="report.amount",
    )  # fmt: skip
    watts = None
    if per == "kwh":
        watts = st.number_input(
            "Power under load (W)", min_value=0.0, value=None, step=5.0, format="%.4g", placeholder="if you know it",
            key="report.watts", help="What the machine draws. Used for variants whose energy was not measured.",
        )  # fmt: skip
    return None if amount is None else Price(amount, per, currency, watts)


def draw_report(report: Report) -> None:
    """Headline, caveats, key figures and costs, as the file will have them."""
    with st.container(border=True):
        st.markdown(f"#### {text.escape(report.headline)}")
        st.caption(text.escape(report.reason))
        with st.grid(4, min_column_width=150):
            for figure in report.key_figures:
                draw_key_figure(figure)
        for caveat in report.caveats:
            st.caption(f":material/warning: {text.escape(caveat)}")
    if report.costs:
        rows = [(line.title, line.amount, line.words) for line in report.costs]
        table = pd.DataFrame(rows, columns=list(COST_COLUMNS))
        st.dataframe(table, hide_index=True, column_config=COST_COLUMNS, alt="Cost per million images")
        st.caption(text.escape(" ".join(report.cost_notes)))
    else:
        st.caption("Enter a price to see what a million images cost with each variant.")


def draw_key_figure(figure: KeyFigure) -> None:
    """A measure of the recommended variant, its verdict, and the baseline's value."""
    with st.container(gap=None):
        st.metric(figure.title, figure.value, help=figure.note or None)
        if figure.change:
            st.markdown(f":small[:{COLOURS[figure.tone]}-background[{text.escape(figure.change)}]]")
        if figure.before:
            st.caption(f"untouched: {figure.before}")


def draw_download(selection: Selection, report: Report) -> None:
    """The button that builds the file, and what the file holds."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download report", lambda: html_of(report), f"{selection.model}-report.html", "text/html", type="primary",
            icon=":material/download:", key="report.download", on_click="ignore",
        )  # fmt: skip
        st.toggle("Show it here", key=PREVIEW)
    st.caption(
        f"One HTML file of about {text.data_size(library_bytes())}, since the library that draws its charts is inside: "
        "it opens in any browser without a network, and prints to PDF from there. "
        f"It holds {', '.join(HOLDS[:-1])}, and {HOLDS[-1]}."
    )
