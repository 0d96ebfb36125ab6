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
    with st.expander(_heading(lines), key=f"eligibility-{entry.key}"):
        st.markdown("  \n".join(_line(line) for line in lines))
        if entry.form == "keras":
            st.caption("Those of TensorFlow were tried on this very network, without training.")
        if reason := why_not_here(lines):
            st.caption(text.escape(f"{reason}."))


def _heading(lines: tuple[Eligible, ...]) -> str:
    """How many work on it, and where some wait for TensorFlow, how many do now."""
    works = [line for line in lines if not line.reason]
    heading, later = f"{len(works)} of {len(lines)} techniques work on it", len([*filter(_waits, works)])
    return f"{heading}: {len(works) - later} now, {later} with TensorFlow" if later else heading


def _waits(line: Eligible) -> bool:
    return bool(why_not_here((line,)))


def _line(line: Eligible) -> str:
    if line.reason:
        return f":gray[:material/block:] **{line.title}**: {text.escape(line.reason)}"
    return " ".join([f":green[:material/check:] **{line.title}**", *map(text.escape, line.elsewhere)])
