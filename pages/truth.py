"""Every variant in every runtime: is it still the same model there, and is it faster?"""

import streamlit as st

from ui.truth_view import draw_truth

st.title("Truth matrix")
st.caption(
    "Every export raises two questions: is it still the same model, and is it faster there? Each cell is measured on "
    "the file that ships, opened by its runtime. Click one to look into it."
)
draw_truth()
