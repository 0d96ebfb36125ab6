"""Which techniques work on a model, each with its reason where it does not."""

from __future__ import annotations

import streamlit as st

from core.catalogue import ModelEntry
from experiments.eligibility import Eligible, eligibility, why_not_here
from ui import text


def draw_eligibility(entry: ModelEntry) -> None:
    """A closed list, its heading the count; nothing for a network of PyTorch, on which most of them work."""
    lines = eligibility(entry)
    if entry.form == "torch" or not lines:
        return
    works = sum(not line.reason for line in lines)
    with st.expander(f"{works} of {len(lines)} techniques work on it", key=f"eligibility-{entry.key}"):
        st.markdown("  \n".join(_line(line) for line in lines))
        if entry.form == "keras":
            st.caption("Those of TensorFlow were tried on this very network, without training.")
        if reason := why_not_here(lines):
            st.caption(text.escape(reason))


def _line(line: Eligible) -> str:
    if line.reason:
        return f":gray[:material/block:] **{line.title}**: {text.escape(line.reason)}"
    return " ".join([f":green[:material/check:] **{line.title}**", *map(text.escape, line.elsewhere)])
