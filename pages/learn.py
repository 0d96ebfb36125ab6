"""What each technique does, when it pays, and what the words mean."""

import streamlit as st

from optimizers import TECHNIQUES
from runtimes import RUNTIMES
from ui.glossary import TERMS

READABLE = 860
"""Pixels: wider lines tire the eye."""

st.title("Learn")
st.caption("How each technique works, when it pays and when it does not, with its sources.")
techniques, runtimes, words = st.tabs(["Techniques", "Runtimes", "Glossary"])
with techniques, st.container(width=READABLE):
    for technique in TECHNIQUES.values():
        with st.container(border=True, key=f"learn-{technique.key}"):
            st.subheader(technique.title)
            st.markdown(f"**{technique.summary}**")
            st.markdown(technique.learn)
with runtimes, st.container(width=READABLE):
    for runtime in RUNTIMES.values():
        with st.container(border=True, key=f"learn-{runtime.key}"):
            st.subheader(runtime.title)
            st.markdown(runtime.summary)
with words, st.grid(2, min_column_width=360, gap=("small", "large")):
    for term, meaning in TERMS.items():
        st.markdown(f"**{term}**  \n{meaning}")
