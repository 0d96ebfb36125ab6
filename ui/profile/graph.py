"""The operators of the ONNX form, coloured by time, precision or kind, and the files of a profile to take away."""

from __future__ import annotations

import html
from collections.abc import Mapping

import streamlit as st

from core.folders import run_folder
from core.layers import LayerProfile
from experiments.onnx_graph import OnnxGraphView, read_view
from experiments.profile_files import MODEL, RECORDING, TAKEN_AWAY, TRACE
from experiments.recipe import Recipe
from experiments.why_format import percent
from ui import text
from ui.downloads import address_of_profile
from ui.figures import graph as figures
from ui.figures.graph import By, Picture
from ui.profile.offer import opens_tflite
from ui.profile.subject import Subject
from ui.state import is_dark

BY: Mapping[By, str] = {"time": "Time", "precision": "Precision", "kind": "Kind of operator"}
DETAILS = {"blocks": "Blocks", "operators": "Operators"}
NO_GRAPH = (
    "There is no graph of this variant: it is drawn for untouched networks in every runtime, and of others where an "
    "ONNX file is served. ONNX Runtime serves one."
)
NO_ONNX = "A graph is drawn of the ONNX form of a network, and models of Keras and .tflite files have none here."
EARLIER = (
    "This profile left no graph: it was made before graphs were kept, or the notes of its run say why there is none. "
    "Profile again to try once more."
)
HELP = (
    "The network in ONNX, from the image at the top to its answer. Times are those of the engine's layers: where it "
    "merged operators, the one that multiplies has the time, and the others have none. Point at a box for its "
    "attributes and its weights, at an arrow for the shape of what flows."
)
DEPTH_HELP = "Parts of a module's name that tell one block from another: 1 draws `features`, 2 draws `features.3`."
HEIGHT = 720
"""Pixels; what is longer scrolls."""
SWATCH = (
    '<span style="display:inline-flex;align-items:center;gap:.35rem;margin-right:1rem">'
    '<span style="width:.8rem;height:.8rem;border-radius:3px;background:{colour};border:1px solid #8A93A0"></span>'
    "{words}</span>"
)
SCALE = (
    '<span style="display:inline-flex;align-items:center;gap:.5rem;margin-right:1rem">0 ms<span style="width:8rem;'
    'height:.8rem;border-radius:3px;background:linear-gradient(90deg,{low},{high});border:1px solid #8A93A0"></span>'
    "{longest}</span>"
)
FILES = {
    TRACE: ("Layer trace", "The typical time of each layer, laid end to end, for chrome://tracing or ui.perfetto.dev."),
    RECORDING: ("Engine trace", "A few calls as the engine itself recorded them, for the same viewers."),
    MODEL: ("ONNX", "The network of the graph, for Netron and others."),
}
LINK = """<style>
a.taken {{ display: inline-block; padding: .32rem .75rem; border: 1px solid {border}; border-radius: 6px;
           font-size: .875rem; color: inherit; text-decoration: none; margin-right: .5rem; white-space: nowrap; }}
a.taken:hover, a.taken:focus-visible {{ border-color: {accent}; color: {accent}; }}
</style>{links}"""


def draw(subject: Subject) -> None:
    """The section."""
    view = view_of(subject.record.id)
    if view is None or not view.nodes:
        st.info(why_no_graph(subject.recipe), icon=":material/info:")
        draw_downloads(subject)
        return
    picture, by = choose(view, subject.result.layers)
    draw_legend(picture, by)
    source = figures.dot(picture, by, dark=is_dark())
    with st.container(border=True, height=HEIGHT, horizontal_alignment="center"):
        st.graphviz_chart(source, width="content", alt=f"Graph of {subject.recipe.title}")
    st.caption(text.escape(words_on(view, subject.result.layers)))
    draw_downloads(subject)


@st.cache_resource(max_entries=8, show_spinner=False)
def view_of(run_id: str) -> OnnxGraphView | None:
    """The graph that a profile left, read once."""
    return read_view(run_folder(run_id))


def why_no_graph(recipe: Recipe) -> str:
    """One or two sentences on why a profile of the recipe left none."""
    if opens_tflite(recipe.model):
        return NO_ONNX
    return NO_GRAPH if recipe.techniques else EARLIER


def choose(view: OnnxGraphView, layers: LayerProfile) -> tuple[Picture, By]:
    """What is drawn and what its colours tell, as the controls say."""
    many = len(view.nodes) > figures.MOST_OPERATORS
    with st.container(horizontal=True, vertical_alignment="center"):
        by: By = st.segmented_control(
            "Coloured by", list(BY), default="time", required=True, format_func=BY.__getitem__,
            key="profile.graph.by", persist_state="session", label_visibility="collapsed", help=HELP,
        )  # fmt: skip
        detail = st.segmented_control(
            "Boxes", list(DETAILS), default="blocks" if many else "operators", required=True,
            format_func=DETAILS.__getitem__, key=f"profile.graph.boxes.{many}", persist_state="session",
            label_visibility="collapsed",
        )  # fmt: skip
        depths = figures.depths(view)
        if detail == "blocks" and len(depths) > 1:
            depth = st.segmented_control(
                "Depth", list(depths), default=figures.usual_depth(view), required=True, help=DEPTH_HELP,
                format_func=lambda number: f"Depth {number}" if number == 1 else str(number),
                key=f"profile.graph.depth.{depths.stop}.{figures.usual_depth(view)}", persist_state="session",
                label_visibility="collapsed",
            )  # fmt: skip
        else:
            depth = 1
        st.markdown("", help=HELP, width="content")
    if detail == "blocks":
        return figures.blocks(view, layers.layers, depth), by
    return figures.operators(view, layers.layers), by


def draw_legend(picture: Picture, by: By) -> None:
    """What the colours mean."""
    dark = is_dark()
    swatches = [(tone, html.escape(words)) for tone, words in figures.legend(picture, by, dark=dark)]
    parts = [SWATCH.format(colour=tone, words=words) for tone, words in swatches]
    if by == "time":
        mode = "dark" if dark else "light"
        low, high = figures.SHADES[mode]
        longest = max((box.time_ms or 0.0 for box in picture.boxes), default=0.0)
        parts = [
            SCALE.format(low=low, high=high, longest=f"{longest:.3f} ms"),
            SWATCH.format(colour=figures.PLAIN[mode], words="no time of its own"),
        ]
    st.html(f'<div style="font-size:.85rem">{"".join(parts)}</div>')


def words_on(view: OnnxGraphView, layers: LayerProfile) -> str:
    """How many operators there are, and what of the time they do not show."""
    count = len(view.nodes)
    left = view.unplaced(layers.layers)
    said = f"{count} operators; what depends on no image is left out."
    if not left or not layers.layers_ms:
        return said
    share = sum(layer.time_ms for layer in left) / layers.layers_ms
    return (
        f"{said} No operator can be told for {len(left)} of {len(layers.layers)} layers of the engine, "
        f"{percent(share)} of the time: conversions that it added, or kernels without a name."
    )


def draw_downloads(subject: Subject) -> None:
    """Links to the files that the profile left, with what each is under the pointer."""
    there = [name for name in TAKEN_AWAY if name in subject.result.files]
    if not there:
        return
    theme = "dark" if is_dark() else "light"
    links = (
        f'<a class="taken" href="{html.escape(address_of_profile(subject.record.id, name))}" download '
        f'title="{html.escape(FILES[name][1])}">{FILES[name][0]}</a>'
        for name in there
    )
    st.html(
        LINK.format(
            border=st.get_option(f"theme.{theme}.borderColor"), accent=st.get_option(f"theme.{theme}.primaryColor"),
            links="".join(links),
        )
    )  # fmt: skip
