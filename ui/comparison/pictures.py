"""The images or texts whose answer changed, with what was said of them before and after."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from experiments.flips import Indices, StagesOfFlips
from ui import text
from ui.comparison.case import Case
from ui.examples import card_columns, draw_example, noun, words_of

PER_PAGE = 12
"""Fills rows of 6, 4, 3 and 2."""
PAGES_WIDTH = 330
"""Pixels; left to itself, the row of pages hides the second of two."""
ALL = ""
"""Stands for any stage and any class in the filters."""


def draw_pictures(case: Case, found: StagesOfFlips | None) -> None:
    """The flips of one kind, the most surprising first, a page at a time."""
    what = noun(case.flips.split)
    st.subheader(f"{what.capitalize()}s that changed")
    if not any(case.flips.counts.values()):
        st.markdown(f"None: every {what} is answered as before.")
        return
    st.fragment(draw_gallery)(case, found)


def draw_gallery(case: Case, found: StagesOfFlips | None) -> None:
    """The choice of what is shown, the pictures and their pages."""
    with st.container(horizontal=True):
        kind = draw_kind(case)
        images: Indices = getattr(case.flips, kind)
        key = f"{case.key}.{kind}"
        stage = draw_stage(images, found, key)
        name = draw_class(images, case, key)
    images = chosen(images, case, found, stage=stage, name=name)
    if not len(images):
        st.markdown(f"No {noun(case.flips.split)} went from {case.flips.kinds[kind]}.")
        return
    columns, width = card_columns(case.flips.split)
    pages = -(-len(images) // PER_PAGE)
    place = f"pays.page.{key}.{stage}.{name}"
    page = int(st.session_state.get(place, 1)) if pages > 1 else 1
    with st.grid(columns, min_column_width=width):
        rows = [int(image) for image in images[(page - 1) * PER_PAGE : page * PER_PAGE]]
        words = words_of(case.before.recipe.model, case.flips.split, rows)
        for row in rows:
            draw_card(row, case, found, words)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("First those where both variants were sure of their answer, and yet disagree.", width="content")
        st.space("stretch")
        if pages > 1:
            st.pagination(pages, key=place, width=PAGES_WIDTH)


def draw_kind(case: Case) -> str:
    """Which kind of flip is wanted."""
    counts = {kind: count for kind, count in case.flips.counts.items() if count or kind != "right_to_right"}
    start = next(kind for kind, count in counts.items() if count)
    return st.segmented_control(
        "Change", list(counts), default=start, required=True, key=f"pays.kind.{case.key}",
        format_func=lambda kind: f"{case.flips.kinds[kind].capitalize()} · {counts[kind]:,}",
    )  # fmt: skip


def draw_stage(images: Indices, found: StagesOfFlips | None, key: str) -> str:
    """Which stage of the recipe is wanted, where several turned images of that kind."""
    if found is None:
        return ALL
    counts = found.stage.reindex(images).value_counts()
    present = [stage for stage in found.counts.index if stage in counts]
    if len(present) < 2:
        return ALL
    stage: str = st.selectbox(
        "Turned by", [ALL, *present], key=f"pays.stage.{key}", width=230,
        format_func=lambda stage: f"{stage} · {counts[stage]:,}" if stage else "Any stage",
    )  # fmt: skip
    return stage


def draw_class(images: Indices, case: Case, key: str) -> str:
    """Which true class is wanted, those with the most flips of that kind first."""
    counts = pd.Series(case.names[case.flips.split.targets[images]]).value_counts()
    if len(counts) < 2:
        return ALL
    name: str = st.selectbox(
        case.flips.judging.target, [ALL, *counts.index], key=f"pays.class.{key}", width=230,
        format_func=lambda name: f"{name} · {counts[name]:,}" if name else "Any class",
    )  # fmt: skip
    return name


def chosen(images: Indices, case: Case, found: StagesOfFlips | None, *, stage: str, name: str) -> Indices:
    """Those of the images that this stage turned and whose true class is this one."""
    if found is not None and stage != ALL:
        images = images[(found.stage.reindex(images) == stage).to_numpy()]
    return images if name == ALL else images[case.names[case.flips.split.targets[images]] == name]


def draw_card(image: int, case: Case, found: StagesOfFlips | None, words: Mapping[int, str]) -> None:
    """One image: its true class, what was said of it before and after, and which stage turned it."""
    truth = acceptable(image, case)
    with st.container(border=True, gap="xsmall", height="stretch"):
        draw_example(case.flips.split, image, words, alt=f"Test image {image}, {truth}")
        st.markdown("  \n".join([f"**{text.escape(truth)}**", *said_of(image, case, found)]))


def acceptable(image: int, case: Case) -> str:
    """The class of an image; where several are acceptable, all of them."""
    return " or ".join(case.names[label] for label in case.flips.split.labels[image] if label >= 0)


def said_of(image: int, case: Case, found: StagesOfFlips | None) -> list[str]:
    """Lines of markdown: both answers with their confidence, and the stage that turned the image if one is known."""
    flips = case.flips
    lines = []
    for answers, word in ((flips.before, "before"), (flips.after, "after")):
        said, sure = int(answers.predictions[image]), float(answers.confidences[image])
        colour, icon = ("green", "check") if said in flips.split.labels[image] else ("red", "close")
        lines.append(
            f":gray[{word}] :{colour}[:material/{icon}:] {text.escape(case.names[said])} {100 * sure:.0f}\u00a0%"
        )
    if found is not None and image in found.stage.index:
        lines.append(f":gray[turned by {text.escape(found.stage[image])}]")
    return [f":small[{line}]" for line in lines]
