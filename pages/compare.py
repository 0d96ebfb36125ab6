"""Variants side by side: what each gains, what it costs, why, and whether that is more than noise."""

import streamlit as st

from ui.comparison import attribution, overview, report, trade_offs, who_pays, why
from ui.comparison.selection import choose, selection_of
from ui.state import open_page, store

TABS = {
    "Overview": overview.draw,
    "Trade-offs": trade_offs.draw,
    "Why": why.draw,
    "Who pays": who_pays.draw,
    "Attribution": attribution.draw,
    "Report": report.draw,
}

st.title("Compare")
st.caption(
    "Variants of one model, and beside them those of others that are judged by the same images, each measured on the "
    "file that ships. The baseline is grey and comes first."
)
records = choose()
if records:
    selection = selection_of(records)
    overview.draw_remarks(selection)
    for tab, draw in zip(st.tabs(list(TABS), key="tab", bind="query-params"), TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(selection)
elif store().measured():
    st.info("Choose at least one variant above.", icon=":material/info:")
else:
    st.info("Nothing to compare yet: no run has finished.", icon=":material/info:")
    if st.button("Go to Optimise", type="primary", icon=":material/tune:", key="go-optimise"):
        open_page("optimise")
