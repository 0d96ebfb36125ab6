"""Where a student answers as its teacher does and where not: shares, classes and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.data import Split
from experiments.models import judging_of
from experiments.teaching import OUTCOMES, Agreement, Classes
from ui import text
from ui.comparison.pictures import PAGES_WIDTH, PER_PAGE
from ui.examples import card_columns, draw_example, noun, words_of
from ui.figures import distillation as figures
from ui.figures.frame import PLAIN

DIFFER = ("only_teacher", "only_student", "other_mistake")
"""Outcomes under which both answer differently."""
ANY = ""
"""Stands for any class in the filter."""
CLASS_COLUMNS: dict[str, Any] = {
    "class": st.column_config.TextColumn("Class", width="small"),
    "teacher": st.column_config.NumberColumn("Teacher", format="%,d images", help="Images the teacher puts there."),
    "student": st.column_config.NumberColumn("Student", format="%,d images", help="Images the student puts there."),
    "agreement": st.column_config.ProgressColumn(
        "Agreement", format="%.1f %%", min_value=0, max_value=100, width="small",
        help="Share of the teacher's images that the student puts into the same class.",
    ),
    "goes_to": st.column_config.TextColumn(
        "Most others go to", width="small", help="Where the student puts most of the teacher's other images."
    ),
}  # fmt: skip


def draw_agreement(
    agreement: Agreement, names: Sequence[str], *, model: str, key: str, colour: str, ink: str, dark: bool
) -> None:
    """The share, the outcomes, the map of disagreements, the classes and the pictures; `key` begins widget keys."""
    draw_share(agreement)
    with st.grid(2, min_column_width=380, gap=("small", "large")):
        with st.container():
            st.markdown(
                "**Who is right**" if judging_of(model).has_labels else "**Who answers as the untouched network**"
            )
            st.table(outcomes(agreement), border="horizontal", hide_index=True, alt="Test images by who is right")
            st.markdown("**Agreement by the teacher's class**")
            table = agreement.by_class(names)
            st.dataframe(
                table.assign(agreement=100 * table.agreement), hide_index=True, column_config=CLASS_COLUMNS,
                placeholder="none", key=f"{key}.classes", alt="Agreement by class",
            )  # fmt: skip
        with st.container():
            st.markdown("**Where they differ** :small[:gray[images; the diagonal, in grey, is agreement]]")
            figure = figures.disagreements(agreement.confusion, names, ink=ink, dark=dark)
            st.plotly_chart(figure, key=f"{key}.map", config=PLAIN, alt="Teacher's class against the student's")
            if len(names) > figures.MOST_CLASSES:
                st.caption(f"The {figures.MOST_CLASSES} classes with the most disagreements; all are in the table.")
    st.fragment(draw_pictures)(agreement, names, model, key)


def draw_share(agreement: Agreement) -> None:
    """How often both give the same class, in a sentence."""
    low, high = agreement.interval
    st.markdown(
        f"Teacher and student give the same class on **{text.share(agreement.share)}** of {len(agreement.split):,} "
        f"test {noun(agreement.split)}s (95 % interval {100 * low:.2f} to {text.share(high)}), both in float, before "
        "any quantization."
    )


def outcomes(agreement: Agreement) -> pd.DataFrame:
    """One row an outcome: images and their share."""
    total = len(agreement.split)
    rows = [(OUTCOMES[key], f"{count:,}", text.share(count / total)) for key, count in agreement.counts().items()]
    return pd.DataFrame(rows, columns=["Outcome", "Images", "Share"])


def draw_pictures(agreement: Agreement, names: Sequence[str], model: str, key: str) -> None:
    """The images of one outcome under which both differ, a page at a time."""
    counts = {kind: count for kind, count in agreement.counts().items() if kind in DIFFER and count}
    if not counts:
        st.markdown(f"There is no {noun(agreement.split)} that the two answer differently.")
        return
    with st.container(horizontal=True):
        kind = st.segmented_control(
            f"{noun(agreement.split).capitalize()}s where they differ", list(counts), default=next(iter(counts)),
            required=True, key=f"{key}.kind",
            format_func=lambda kind: f"{OUTCOMES[kind]} · {counts[kind]:,}",
        )  # fmt: skip
        images = draw_class(agreement.images(kind), agreement.split, names, f"{key}.class.{kind}")
    columns, width = card_columns(agreement.split)
    pages = -(-len(images) // PER_PAGE)
    place = f"{key}.page.{kind}.{len(images)}"
    page = int(st.session_state.get(place, 1)) if pages > 1 else 1
    with st.grid(columns, min_column_width=width):
        rows = [int(image) for image in images[(page - 1) * PER_PAGE : page * PER_PAGE]]
        words = words_of(model, agreement.split, rows)
        for row in rows:
            draw_card(row, agreement, names, words)
    if pages > 1:
        with st.container(horizontal=True):
            st.space("stretch")
            st.pagination(pages, key=place, width=PAGES_WIDTH)


def draw_class(images: Classes, split: Split, names: Sequence[str], key: str) -> Classes:
    """The images whose label is the class wanted; the classes with the most of them come first."""
    counts = pd.Series([names[target] for target in split.targets[images]]).value_counts()
    if len(counts) < 2:
        return images
    wanted = st.selectbox(
        "Label", [ANY, *counts.index], key=key, width=230,
        format_func=lambda name: f"{name} · {counts[name]:,}" if name else "Any class",
    )  # fmt: skip
    return images if wanted == ANY else images[[names[target] == wanted for target in split.targets[images]]]


def draw_card(image: int, agreement: Agreement, names: Sequence[str], words: Mapping[int, str]) -> None:
    """One image: its label and both answers."""
    split = agreement.split
    label = " or ".join(names[each] for each in split.labels[image] if each >= 0)
    lines = [f"**{text.escape(label)}**"]
    for who, said in (("teacher", agreement.teacher[image]), ("student", agreement.student[image])):
        colour, icon = ("green", "check") if said in split.labels[image] else ("red", "close")
        lines.append(f":small[:gray[{who}] :{colour}[:material/{icon}:] {text.escape(names[said])}]")
    with st.container(border=True, gap="xsmall", height="stretch"):
        draw_example(split, image, words, alt=f"Test image {image}, {label}")
        st.markdown("  \n".join(lines))
