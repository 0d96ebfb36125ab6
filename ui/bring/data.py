"""The second section: the images on which a model is judged, calibrated and trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from core.data import Pixels
from experiments.bundled_data import facts_of, labels_of, refuse_other_count, splits_of
from experiments.jobs import DataChoice
from intake.index import INDEX_FILE
from intake.items import MOST_THUMBNAILS, THUMBNAILS_FILE, ImageSet
from intake.shelf import item_folder
from intake.splitting import split
from ui.bring.classes import choose_match
from ui.bring.files import draw_delete, draw_notes, of_kind, titles_of
from ui.bring.model import ChosenModel
from ui.bring.work import Work
from ui.figures.frame import PLAIN, shorten
from ui.identity import owner
from ui.images import contact_sheet
from ui.state import ink, is_dark
from ui.theme import colour_of
from ui.upload_box import upload_box

STATE = st.session_state
BUNDLED = {"fashion_mnist": "Fashion-MNIST", "photographs": "Free photographs with ImageNet classes"}
TRAIN_SHARES = {"fashion_mnist": 0.5, "photographs": 0.0}
"""Above 0 where what comes with the studio has images to train on, which are its own."""
SIDE, COLUMNS = 72, 12
MOST_CLASSES = 40
"""Bars in the chart of classes."""
TRAIN_HELP = (
    "Images that techniques may train on: distillation, fine-tuning after pruning, quantization-aware training."
)
CALIBRATE_HELP = "Images that quantizers look at to find ranges. Neither these nor those of training judge anything."
NONE_TO_TRAIN = (
    "Without images to train on, distillation, quantization-aware training and fine-tuning after pruning are off for "
    "this model."
)
NO_LABELS = (
    "These images have no labels. What is measured then is **agreement**: on how many of them a variant gives the "
    "answer that the untouched network gives. It tells what optimising changed, not who is right."
)


@dataclass(frozen=True)
class ChosenData:
    """Images, and how they are divided."""

    choice: DataChoice
    images: ImageSet


def choose_data(model: ChosenModel | None, work: Work) -> ChosenData | None:
    """What the person chose; None where there is no network for it yet, or one that it cannot be used for."""
    st.subheader("2 · The images")
    upload_box("data", key="bring.upload-data")
    work.draw("data")
    if model is None:
        return None
    found = of_kind(ImageSet)
    titles = titles_of(found) | {key: f"{title} · comes with the studio" for key, title in BUNDLED.items()}
    options = [*found, *BUNDLED]
    if STATE.get("bring.data") not in options:
        STATE["bring.data"] = next((key for key in options if key in found or _fits(key, model)), None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Images", options, format_func=titles.__getitem__, key="bring.data",
            placeholder="Upload images, or choose some that come with the studio",
        )  # fmt: skip
        if chosen in found:
            draw_delete(chosen)
    if chosen not in titles:
        return None
    images = found.get(chosen)
    return _uploaded(chosen, images, model) if isinstance(images, ImageSet) else _bundled(chosen, model)


def _fits(key: str, model: ChosenModel) -> bool:
    return len(labels_of(key)) == model.described.classes


def _bundled(key: str, model: ChosenModel) -> ChosenData:
    """Images of the studio. Raises `BadInput` for a network with another number of classes."""
    images, counts, sheet = _facts_of_bundled(key)
    draw_images(images, sheet, key=key, title="Images to judge by")
    refuse_other_count(model.described.classes, len(images.classes))
    choice = DataChoice.model_validate({"bundled": key, "train_share": TRAIN_SHARES[key]})
    _draw_counts(counts)
    return ChosenData(choice, images)


@st.cache_data(show_spinner="Looking at the images")
def _facts_of_bundled(key: str) -> tuple[ImageSet, dict[str, int], bytes]:
    splits = splits_of(key)
    counts = {"train": len(splits.train), "calibrate": len(splits.calibrate), "test": len(splits.test)}
    facts = facts_of(key, BUNDLED[key], splits.test)
    return facts, counts, _drawn(np.asarray(splits.test.pixels[:MOST_THUMBNAILS]))


def _uploaded(key: str, images: ImageSet, model: ChosenModel) -> ChosenData | None:
    draw_images(images, _sheet(str(item_folder(owner(), key) / THUMBNAILS_FILE)), key=key)
    labels, classes = model.described.labels, model.described.classes
    how = choose_match(images, labels, classes, key=f"{key}-{model.key}") if images.classes else "order"
    if how is None:
        return None
    left, right = st.columns(2)
    train = left.slider("To train on", 0, 80, 0, 5, format="%d %%", help=TRAIN_HELP, key=f"bring.train-{key}")
    calibrate = right.slider(
        "To calibrate on", 5, 50, 20, 5, format="%d %%", help=CALIBRATE_HELP, key=f"bring.calibrate-{key}"
    )
    choice = DataChoice(item=key, train_share=train / 100, calibrate_share=calibrate / 100, match=how)
    path = item_folder(owner(), key) / INDEX_FILE
    _draw_counts(split_counts(str(path), choice.train_share, choice.calibrate_share, choice.seed))
    st.caption("Each class is divided alike, and no image is in two of them.")
    return ChosenData(choice, images)


def _draw_counts(counts: dict[str, int]) -> None:
    """How many images there are for what, and what cannot be done without some."""
    st.markdown(
        f"**{counts['train']:,}** to train on · **{counts['calibrate']:,}** to calibrate on · "
        f"**{counts['test']:,}** to judge by"
    )
    if not counts["train"]:
        st.caption(f":material/info: {NONE_TO_TRAIN}")


@st.cache_data(show_spinner=False, max_entries=50)
def split_counts(path: str, train_share: float, calibrate_share: float, seed: int) -> dict[str, int]:
    """How many images each split gets. Raises `BadInput` where one would get none."""
    index = json.loads(Path(path).read_bytes())
    found = split(index, train_share=train_share, calibrate_share=calibrate_share, seed=seed)
    return {name: len(rows) for name, rows in found.items()}


def draw_images(images: ImageSet, sheet: bytes | None, *, key: str, title: str = "Images") -> None:
    """Counts, a sample of the images, the balance of the classes, and what was converted or skipped."""
    columns = st.columns(4)
    columns[0].metric(title, f"{images.images:,}")
    columns[1].metric("Classes", f"{len(images.classes):,}" if images.classes else "no labels")
    low, high = images.sides[0:2], images.sides[2:4]
    columns[2].metric("Height", _range(*low), help="Smallest and largest, in pixels.")
    columns[3].metric("Width", _range(*high), help="Smallest and largest, in pixels.")
    if not images.classes and not any("no labels" in warning for warning in images.warnings):
        st.info(NO_LABELS, icon=":material/info:")
    draw_notes(images)
    if images.skipped:
        with st.expander(f"{images.skipped_count:,} images could not be read and are left out"):
            st.dataframe([each.model_dump() for each in images.skipped], hide_index=True)
    left, right = st.columns([3, 2])
    if sheet:
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
    return _drawn(pixels) if len(pixels) else None


def _drawn(pixels: Pixels) -> bytes:
    return contact_sheet(pixels, columns=COLUMNS, side=SIDE)


def balance(images: ImageSet) -> go.Figure:
    """Images of each class, the most frequent first where there are too many to show."""
    pairs = [pair for pair in zip(images.classes, images.per_class, strict=True) if pair[1]]
    shown = pairs if len(pairs) <= MOST_CLASSES else sorted(pairs, key=lambda pair: -pair[1])[:MOST_CLASSES]
    figure = go.Figure(
        go.Bar(
            x=[count for _, count in shown],
            y=[shorten(name, 24) for name, _ in shown],
            orientation="h",
            marker_color=colour_of(1, dark=is_dark()),
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
