"""Which of the network's classes those of the images are."""

from __future__ import annotations

import hashlib

import streamlit as st

from core.errors import StudioError
from intake.items import ImageSet
from intake.splitting import Match, match, starts_with_background
from ui import text

TITLES = {
    "names": "By name",
    "background": "By number, after the background",
    "order": "By place",
    "each": "One by one",
}
HOW_HELP = (
    "By the names of folders and labels; first to first in alphabetical order, or by their numbers where they are "
    "called so, of which 0 may be the class after the background; or as you choose for each."
)
MOST_CHOSEN = 20
"""Classes of the images up to which each may be chosen by hand."""
EXAMPLES = 6


def choose_match(images: ImageSet, labels: tuple[str, ...], classes: int, *, key: str) -> Match | None:
    """How the classes of the images and of the network belong together; None, with the reason, where they do not."""
    # a list answers with the name that was chosen, so that one with other names has to be another list
    key = f"{key}-{hashlib.sha256(repr(labels).encode()).hexdigest()[:16]}"
    ways: list[Match] = ["names", "order"]
    if starts_with_background(labels):
        ways.insert(1, "background")
    reasons = {str(way): _why_unmatched(images, labels, classes, way) for way in ways}
    possible = [way for way, reason in reasons.items() if not reason]
    if _may_choose(images, classes):
        possible.append("each")
    if not possible:
        st.error(text.escape(reasons["names" if labels else "order"]), icon=":material/block:")
        return None
    how = st.segmented_control(
        "Which class of the network is which", possible, default=possible[0], required=True,
        format_func=TITLES.__getitem__, key=f"bring.match-{key}", help=HOW_HELP,
    )  # fmt: skip
    if how == "each":
        return _choose_each(images, labels, classes, key)
    chosen = next(way for way in ways if way == how)
    pairs = match(images.classes, labels, chosen, classes=classes, file=images.name)
    shown = [f"{images.classes[ours]} → {_called(theirs, labels)}" for ours, theirs in list(pairs.items())[:EXAMPLES]]
    st.caption("For example: " + text.escape(" · ".join(shown)))
    return chosen


def _may_choose(images: ImageSet, classes: int) -> bool:
    """Whether the network has a class for each of few; labels that are numbers say themselves which."""
    are_numbers = all(name.isdecimal() for name in images.classes)
    return len(images.classes) <= min(classes, MOST_CHOSEN) and not are_numbers


def _choose_each(images: ImageSet, labels: tuple[str, ...], classes: int, key: str) -> Match | None:
    """The network's class of each class of the images; None before all are chosen."""
    with st.grid(3, min_column_width=260):
        chosen = [
            st.selectbox(
                text.escape(name), range(classes), None, key=f"bring.class-{key}-{place}",
                format_func=lambda number: _called(number, labels), placeholder="Class of the network",
            )
            for place, name in enumerate(images.classes)
        ]  # fmt: skip
    numbers = tuple(number for number in chosen if number is not None)
    return numbers if len(numbers) == len(chosen) else None


def _called(number: int, labels: tuple[str, ...]) -> str:
    return f"{number} · {labels[number]}" if labels else f"class {number}"


def _why_unmatched(images: ImageSet, labels: tuple[str, ...], classes: int, how: Match) -> str:
    try:
        match(images.classes, labels, how, classes=classes, file=images.name)
    except StudioError as reason:
        return str(reason)
    return ""
