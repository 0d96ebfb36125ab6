"""What this is, what this machine offers, and the first run in one click."""

import streamlit as st

from core.devices import Device
from experiments.models import find
from experiments.recipe import Recipe
from experiments.run_record import RunRecord
from optimizers import TECHNIQUES
from ui import text
from ui.live import look_of
from ui.queue import enqueue
from ui.recording_view import draw_list, shipped_recordings
from ui.state import devices, gpu_absence, open_page, store
from ui.tables import model_title

SAMPLE = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
WORK = (
    ("models", "1 · Pick a model", "Trained networks with real test data, ready to use offline."),
    ("profile", "2 · Profile it", "Which layers take the time, what bounds them, and what to do about it."),
    ("optimise", "3 · Move sliders", "Quantize, prune, distil, change precision, alone or combined."),
    ("runs", "4 · Watch it run", "Live curves and memory. Close the tab: the run goes on."),
    ("compare", "5 · Compare", "Accuracy, size, latency and memory of what ships, with honest intervals."),
    ("export", "6 · Take it away", "The optimised file, its recipe and sample code that runs it, as one zip."),
)
RECENT = 6
STEPS = """<style>
.st-key-work .stButton { container-type: inline-size; }
.st-key-work button, .st-key-work button > div { justify-content: flex-start; text-align: left; }
.st-key-work button { align-items: flex-start; }
@container (max-width: 125px) { .st-key-work button { min-height: 3.2rem; } }
</style>"""
"""Headings to the left, and as high as two lines where one of them needs two, so that the texts begin level."""


def draw_start() -> None:
    """One click from here to a result."""
    with st.container(border=True, height="stretch"):
        st.subheader("Start from a sample")
        st.markdown(
            f"Take the **{find(SAMPLE.model).title}** on {find(SAMPLE.model).data_title}, quantize it to INT8 "
            "for ONNX Runtime, and compare it with the untouched network. The first live numbers come within seconds, "
            "the comparison in a minute or two."
        )
        st.space("stretch")
        if st.button("Run baseline and INT8", type="primary", icon=":material/play_arrow:", key="start"):
            open_page("runs", run=enqueue(store(), SAMPLE))


def draw_devices() -> None:
    """A line for each device, and why there is no GPU."""
    with st.container(border=True, height="stretch"):
        st.subheader("Devices found")
        for device in devices():
            draw_device(device)
        if reason := gpu_absence():
            st.caption(f"{text.escape(reason)}. Everything here also runs on the CPU.")


def draw_device(device: Device) -> None:
    """Name and memory of a device."""
    capability = ", compute capability {}.{}".format(*device.compute_capability) if device.compute_capability else ""
    st.markdown(
        f":{'green' if device.kind == 'cuda' else 'blue'}-badge[{device.id}] **{text.escape(device.name)}**"
        f" · {text.data_size(device.memory_bytes)}{capability}"
    )


def draw_run(record: RunRecord) -> None:
    """A line for a run, with the way to it."""
    state, title, when, button = st.columns([1.3, 6, 1.1, 0.9], vertical_alignment="center")
    word, look = look_of(record)
    state.badge(word, color=look.colour, icon=look.icon)
    title.markdown(f"**{text.escape(record.title)}** · {text.escape(model_title(record.recipe.model))}")
    when.caption(text.ago(record.created_at))
    if button.button("Open", key=f"open-{record.id}", type="tertiary", icon=":material/arrow_forward:"):
        open_page("runs", run=record.id)


def draw_recorded() -> None:
    """Runs recorded elsewhere, for a machine without a GPU."""
    recorded = shipped_recordings()
    if gpu_absence() is None or not recorded:
        return
    st.subheader("Recorded runs")
    on_gpu = any(recording.is_of_gpu for recording in recorded.values())
    st.caption(
        ("This machine has no GPU; these runs were recorded on one, or on another CPU. " if on_gpu else "")
        + "Watch a whole run in a minute. Nothing of it was measured on this machine, and nothing of it enters your "
        "comparisons."
    )
    draw_list(recorded)


st.title("Post-Training Studio")
st.markdown(
    "Make trained neural networks smaller and faster, and see what that costs. "
    "Every number is measured on the exported file, opened by the engine that would serve it."
)
start, found = st.columns([3, 2])
with start:
    draw_start()
with found:
    draw_devices()

st.subheader("The order of work")
st.html(STEPS)
with st.grid(6, min_column_width=90, key="work"):
    for name, title, summary in WORK:
        with st.container(border=True, height="stretch", gap=None):
            if st.button(f"**{title}**", type="tertiary", key=f"go-{name}", width="stretch"):
                open_page(name)
            st.caption(summary)

st.subheader("Recent runs")
records = store().runs(limit=RECENT)
if not records:
    st.info("No runs yet. Press **Run baseline and INT8** above for the first one.", icon=":material/info:")
with st.container(gap="xsmall"):
    for record in records:
        draw_run(record)
draw_recorded()
