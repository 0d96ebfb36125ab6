"""Which techniques of TensorFlow work on a Keras model that was uploaded, and why others do not."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from optimizers import TECHNIQUES
from ui import text

TRIED = "Techniques of TensorFlow, tried on this very network. LiteRT's own quantizer comes on top."


def draw_tried(eligibility: Mapping[str, str]) -> None:
    """A line for each technique that was tried when the file was read; nothing where none was."""
    if eligibility:
        st.caption(TRIED)
        st.markdown("  \n".join(_line(key, reason) for key, reason in eligibility.items()))


def _line(key: str, reason: str) -> str:
    title = f"**{text.escape(TECHNIQUES[key].title if key in TECHNIQUES else key)}**"
    return f":gray[:material/block:] {title}: {text.escape(reason)}" if reason else f":green[:material/check:] {title}"
