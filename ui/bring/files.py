"""Files that were read and found good: chosen from a list, with what is known of each, and deleted."""

from __future__ import annotations

import streamlit as st

from intake.items import ImageSet, Item
from intake.shelf import delete_item, items
from ui import text
from ui.identity import owner


def of_kind(*kinds: type[Item]) -> dict[str, Item]:
    """The person's items of these kinds by id, the newest first."""
    return {key: item for key, item in items(owner()).items() if isinstance(item, kinds)}


def name_of(item: Item) -> str:
    """`resnet.pt · weights, 44.7 MiB`, as text that no markup hides in."""
    kind = {"weights": "weights", "graph": "ONNX", "images": "images"}[item.kind]
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
