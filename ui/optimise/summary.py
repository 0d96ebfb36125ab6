"""The recipe that the controls make: in words, as a file, and the button that runs it."""

from __future__ import annotations

import streamlit as st

from core.errors import StudioError
from experiments.checking import why_refused
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml, to_yaml
from experiments.references import fine_tuned_control
from runtimes import RUNTIMES
from ui import text
from ui.optimise.opening import key_of, open_foreign, start
from ui.optimise.place import Place
from ui.queue import enqueue
from ui.state import open_page, store

REFERENCES_HELP = (
    "A run also needs the untouched model in PyTorch (baseline; of an ONNX file in ONNX Runtime, of Keras and .tflite "
    "files in LiteRT) and in the chosen runtime (reference). A recipe that trains a model of Keras also needs its "
    "control: the untouched model trained on in FP32 for as many epochs, because training alone changes accuracy too. "
    "They are measured once and reused."
)


def ask_name(usual: str) -> str:
    """A name of the person's own, or nothing."""
    return st.text_input(
        "Name",
        start().name,
        max_chars=120,
        placeholder=usual,
        help="How the variant is called in charts and tables. Left empty, it is called by what was done.",
        key=key_of("name"),
        persist_state="session",
    ).strip()


def draw_summary(recipe: Recipe, place: Place) -> None:
    """The recipe in words, one line a step."""
    target = text.escape(recipe.engine.target(place.device).name)
    if recipe.engine.builds_ahead:
        last = f"Build for **{target}**; nothing is run or measured here"
    elif recipe.is_simulated:
        last = f"Measure accuracy only on **{text.escape(place.device.name)}**"
    else:
        last = f"Measure on **{target}**, batch size {recipe.measurement.batch_size}"
    steps = [
        f"Start from the **{text.escape(place.model.title)}** on {text.escape(place.model.data_title)}",
        *(f"**{text.escape(label)}**" for label in recipe.labels),
        f"Export for **{RUNTIMES[recipe.runtime].title}**",
        last,
    ]
    st.markdown("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))


def draw_run(recipe: Recipe, misfit: str) -> None:
    """Whether it fits, and the button that starts it; `misfit` is why the controls give no recipe, if they do not."""
    reason = misfit or why_refused(recipe)
    if reason:
        st.error(text.sentence(reason), icon=":material/block:")
    elif control := fine_tuned_control(recipe):
        training = text.escape(control.techniques[0].label())
        st.caption(f"Its control runs too, unless it is measured: {training}, in FP32.")
    again = st.checkbox("Measure the references again", help=REFERENCES_HELP, key="again")
    if st.button(
        "Run", type="primary", icon=":material/play_arrow:", width="stretch", disabled=bool(reason), key="run"
    ):
        open_page("runs", run=enqueue(store(), recipe, measure_again=again))


def draw_file(recipe: Recipe) -> None:
    """The recipe as a file, to keep and to open again."""
    with st.expander("Recipe as YAML", key="yaml"):
        st.code(to_yaml(recipe), language="yaml")
        st.download_button("Download recipe.yaml", to_yaml(recipe), "recipe.yaml", icon=":material/download:")
        st.file_uploader(
            "Open a recipe", ["yaml", "yml"], max_upload_size=1, key=key_of("upload"), on_change=_read_upload
        )
        if refusal := st.session_state.pop("optimise.refusal", None):
            st.error(text.sentence(refusal))


def _read_upload() -> None:
    """Open the recipe that was just uploaded, or keep the reason why it cannot be."""
    upload = st.session_state[key_of("upload")]
    if upload is None:  # it was taken away again
        return
    try:
        open_foreign(from_yaml(upload.getvalue().decode(errors="replace")))
    except StudioError as error:
        st.session_state["optimise.refusal"] = str(error)
