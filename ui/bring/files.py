"""Files that were read and found good: chosen from a list, with what is known of each, and deleted."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping

import streamlit as st

from intake.items import ImageSet, Item
from intake.shelf import ITEM_FILE, delete_item, item_folder, items
from ui import text
from ui.identity import owner

_KINDS = {"weights": "weights", "graph": "ONNX", "keras": "Keras", "tflite": "LiteRT", "images": "images"}


def of_kind(*kinds: type[Item]) -> dict[str, Item]:
    """The person's items of these kinds by id, the newest first."""
    return {key: item for key, item in items(owner()).items() if isinstance(item, kinds)}


def titles_of(found: Mapping[str, Item]) -> dict[str, str]:
    """What each item is called in a list, the newest first; no two are called the same.

    A list answers with what is chosen as it is called, so that of two called alike only one could be chosen.
    """
    titles: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for key in reversed(list(found)):
        title = f"{name_of(found[key])} · {_came_at(key)}"
        seen[title] += 1
        titles[key] = title if seen[title] == 1 else f"{title} ({seen[title]})"
    return titles


def _came_at(key: str) -> str:
    at = (item_folder(owner(), key) / ITEM_FILE).stat().st_mtime
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%d %b, %H:%M} UTC"


def name_of(item: Item) -> str:
    """`resnet.pt · weights, 44.7 MiB`, as text that no markup hides in."""
    kind = _KINDS[item.kind]
    count = f"{item.images:,} " if isinstance(item, ImageSet) else ""
    return f"{item.name} · {count}{kind}, {text.data_size(item.size_bytes)}"


def draw_notes(item: Item) -> None:
    """What was done to the file when it was read, and what to look at."""
    for warning in item.warnings:
        st.warning(text.escape(warning), icon=":material/warning:")
    if item.notes:
        st.caption("  \n".join(text.escape(note) for note in item.notes))


def draw_delete(key: str) -> None:
    """Deletes the file; models that were made of it stay."""
    help = "Frees its space. Models that were added with it keep what they need."
    if st.button("Delete", key=f"delete-{key}", icon=":material/delete:", help=help):
        delete_item(owner(), key)
        st.rerun()
