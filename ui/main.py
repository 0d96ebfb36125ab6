"""The frame around every page: title, navigation and the net that catches what a page raises."""

from __future__ import annotations

import streamlit as st

from ui import identity
from ui.errors import guarded
from ui.state import PAGES

DRAWINGS = PAGES.parent / "ui"
ABOUT = "**Post-Training Studio**: quantize, prune and distil trained networks, and measure what ships."
NAVIGATION = {
    "": (("home", "Home", "home"),),
    "Work": (
        ("models", "Models", "category"),
        ("bring", "Bring your own", "upload_file"),
        ("profile", "Profile", "speed"),
        ("optimise", "Optimise", "tune"),
        ("runs", "Runs", "play_circle"),
        ("compare", "Compare", "bar_chart"),
        ("truth", "Truth matrix", "fact_check"),
        ("export", "Export", "package_2"),
    ),
    "Help": (("learn", "Learn", "school"), ("system", "System", "memory")),
}


# What a table's own toolbar writes is no CSV of ours: a spreadsheet would carry out a class called `=cmd`.
NO_RAW_CSV = "button[aria-label='Download as CSV'] { display: none; }"
NARROW_GUTTERS = (
    "@media (max-width: 1100px) { [data-testid='stMainBlockContainer'] { padding-left: 2rem; padding-right: 2rem; } }"
)


def page(name: str, title: str, icon: str) -> st.Page:
    """A page of the navigation, at the path of its name."""
    url_path = "" if name == "home" else name
    return st.Page(
        PAGES / f"{name}.py", title=title, icon=f":material/{icon}:", url_path=url_path, default=name == "home"
    )


st.set_page_config(
    page_title="Post-Training Studio",
    page_icon=DRAWINGS / "icon.svg",
    layout="wide",
    initial_sidebar_state=220,
    menu_items={"About": ABOUT},
)
st.logo(DRAWINGS / "logo.svg", icon_image=DRAWINGS / "icon.svg")
is_stranger = identity.must_log_in()
current = st.navigation(
    {section: [page(*entry) for entry in entries] for section, entries in NAVIGATION.items()},
    position="hidden" if is_stranger else "sidebar",
)
st.html(f"<style>{NO_RAW_CSV}\n{NARROW_GUTTERS}</style>")
with guarded():
    if is_stranger:
        identity.draw_login()
    else:
        identity.draw_person()
        current.run()
