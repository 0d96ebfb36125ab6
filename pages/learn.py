"""What each technique does, when it pays, and what the words mean."""

import streamlit as st

from ui.learn import page

st.title("Learn")
st.caption("How each technique works, when it pays and when it does not, with its sources.")
query = st.text_input(
    "Search", type="search", placeholder="Search techniques, runtimes and terms", label_visibility="collapsed",
    key="search", bind="query-params", live=True, width=page.READABLE,
)  # fmt: skip
page.draw(query or "")
