"""What is not installed and can be, with the way there."""

from __future__ import annotations

import streamlit as st

from bridges.environments import Environment
from ui.state import open_page


def draw_missing(environment: Environment) -> None:
    """One sentence on what is missing, and the button that leads to where it is installed."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"missing-{environment.key}"):
        st.info(f"{environment.why_missing}.", icon=":material/download:")
        if st.button("Open System", icon=":material/memory:", key=f"install-{environment.key}"):
            open_page("system")
