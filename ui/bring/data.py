"""The second section: the images on which a model is judged, calibrated and trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from core.errors import StudioError
from experiments.jobs import DataChoice
from intake.index import INDEX_FILE
from intake.items import THUMBNAILS_FILE, ImageSet
from intake.shelf import item_folder
from intake.splitting import match, split
from ui import text
from ui.bring.files import draw_delete, draw_notes, name_of, of_kind
from ui.figures.frame import PLAIN, shorten
from ui.identity import owner
from ui.images import contact_sheet
from ui.state import ink
from ui.upload_box import upload_box

STATE = st.session_state
BUNDLED = {"fashion_mnist": "Fashion-MNIST", "photographs": "Free photographs with ImageNet classes"}
SIDE, COLUMNS = 72, 12
MOST_CLASSES = 40
"""Bars in the chart of classes."""
TRAIN_HELP = (
    "Images that techniques may train on: distillation, fine-tuning after pruning, quantization-aware training."
)
CALIBRATE_HELP = "Images that quantizers look at to find ranges. Neither these nor those of training judge anything."


@dataclass(frozen=True)
class ChosenData:
    """Images, and how they are divided."""

    choice: DataChoice
    images: ImageSet | None
    """What was uploaded; None for images of the studio."""
    title: str


def choose_data(labels: tuple[str, ...], classes: int) -> ChosenData | None:
    """What the person chose; None where it cannot be used for a network with these classes."""
    st.subheader("2 · The images")
    upload_box("data", key="bring.upload-data")
    found = of_kind(ImageSet)
    options = [*found, *BUNDLED]
    if STATE.get("bring.data") not in options:
        STATE["bring.data"] = options[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Images",
            options,
            format_func=lambda key: name_of(found[key]) if key in found else f"{BUNDLED[key]} · comes with the studio",
            key="bring.data",
        )
        if chosen in found:
            draw_delete(chosen)
    images = found.get(chosen)
    if not isinstance(images, ImageSet):
        choice = DataChoice.model_validate({"bundled": chosen, "train_share": _train_share(chosen)})
        return ChosenData(choice, None, BUNDLED[chosen])
    draw_images(chosen, images)
    how = _choose_match(images, labels, classes) if images.classes else "order"
    if how is None:
        return None
    train, calibrate = st.columns(2)
    choice = DataChoice(
        item=chosen,
        train_share=train.slider("To train on", 0, 80, 0, 5, format="%d %%", help=TRAIN_HELP, key="bring.train") / 100,
        calibrate_share=calibrate.slider(
            "To calibrate on", 5, 50, 20, 5, format="%d %%", help=CALIBRATE_HELP, key="bring.calibrate"
        ) / 100,
        match=how,
    )  # fmt: skip
    path = item_folder(owner(), chosen) / INDEX_FILE
    counts = split_counts(str(path), choice.train_share, choice.calibrate_share, choice.seed)
    st.caption(
        f"{counts['train']:,} to train on, {counts['calibrate']:,} to calibrate on, {counts['test']:,} to judge by; "
        "each class is divided alike, and no image is in two of them."
    )
    return ChosenData(choice, images, images.name.rpartition(".")[0] or images.name)


@st.cache_data(show_spinner=False, max_entries=50)
def split_counts(path: str, train_share: float, calibrate_share: float, seed: int) -> dict[str, int]:
    """How many images each split gets. Raises `BadInput` where one would get none."""
    index = json.loads(Path(path).read_bytes())
    found = split(index, train_share=train_share, calibrate_share=calibrate_share, seed=seed)
    return {name: len(rows) for name, rows in found.items()}


def _train_share(chosen: str) -> float:
    return 0.5 if chosen == "fashion_mnist" else 0.0


def draw_images(key: str, images: ImageSet) -> None:
    """Counts, a sample of the images, the balance of the classes, and what was converted or skipped."""
    columns = st.columns(4)
    columns[0].metric("Images", f"{images.images:,}")
    columns[1].metric("Classes", f"{len(images.classes):,}" if images.classes else "no labels")
    low, high = images.sides[0:2], images.sides[2:4]
    columns[2].metric("Height", _range(*low), help="Smallest and largest, in pixels.")
    columns[3].metric("Width", _range(*high), help="Smallest and largest, in pixels.")
    if not images.classes:
        st.info(
            "These images have no labels. What is measured then is **agreement**: on how many of them a variant gives "
            "the answer that the untouched network gives. It tells what optimising changed, not who is right.",
            icon=":material/info:",
        )
    draw_notes(images)
    if images.skipped:
        with st.expander(f"{images.skipped_count:,} images could not be read and are left out"):
            st.dataframe([each.model_dump() for each in images.skipped], hide_index=True)
    left, right = st.columns([3, 2])
    if sheet := _sheet(str(item_folder(owner(), key) / THUMBNAILS_FILE)):
        left.image(sheet, width="stretch", alt="A sample of the images")
    if images.classes:
        right.plotly_chart(balance(images), key=f"balance-{key}", config=PLAIN, alt="Images of each class")


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


@st.cache_data(show_spinner=False)
def _sheet(path: str) -> bytes | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels = np.ascontiguousarray(arrays["pixels"].transpose(0, 3, 1, 2))
    except (OSError, KeyError, ValueError):
        return None
    return contact_sheet(pixels, columns=COLUMNS, side=SIDE) if len(pixels) else None


def balance(images: ImageSet) -> go.Figure:
    """Images of each class, the most frequent first where there are too many to show."""
    pairs = list(zip(images.classes, images.per_class, strict=True))
    shown = pairs if len(pairs) <= MOST_CLASSES else sorted(pairs, key=lambda pair: -pair[1])[:MOST_CLASSES]
    figure = go.Figure(
        go.Bar(
            x=[count for _, count in shown],
            y=[shorten(name, 24) for name, _ in shown],
            orientation="h",
            hovertemplate="%{y}: %{x:,} images<extra></extra>",
        )
    )
    title = "Images of each class" + (f" (the {MOST_CLASSES} largest)" if len(shown) < len(pairs) else "")
    figure.update_layout(
        title=title,
        font_color=ink(),
        height=min(360, 90 + 18 * len(shown)),
        margin={"t": 40, "b": 40},
        yaxis={"autorange": "reversed", "type": "category"},
        xaxis_title="images",
    )
    return figure


def _choose_match(images: ImageSet, labels: tuple[str, ...], classes: int) -> Literal["names", "order"] | None:
    """How classes of the images and of the network belong together; None, with the reason, where they do not."""
    reasons = {how: _why_unmatched(images, labels, classes, how) for how in ("names", "order")}
    possible = [how for how, reason in reasons.items() if not reason]
    if not possible:
        st.error(text.escape(reasons["names"] if labels else reasons["order"]), icon=":material/block:")
        return None
    titles = {"names": "By name", "order": "By place"}
    how = st.segmented_control(
        "Classes belong together", possible, default=possible[0], required=True, format_func=titles.__getitem__,
        key="bring.match", help="By the names of folders and labels, or first to first in alphabetical order.",
    )  # fmt: skip
    pairs = match(images.classes, labels, how, classes=classes, file=images.name)
    shown = [
        f"{images.classes[ours]} → {(labels or images.classes)[theirs]}" for ours, theirs in list(pairs.items())[:6]
    ]
    st.caption("For example: " + text.escape(" · ".join(shown)))
    return "names" if how == "names" else "order"


def _why_unmatched(images: ImageSet, labels: tuple[str, ...], classes: int, how: str) -> str:
    try:
        match(images.classes, labels, how, classes=classes, file=images.name)
    except StudioError as reason:
        return str(reason)
    return ""
