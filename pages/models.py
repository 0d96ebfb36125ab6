"""The trained networks to start from, one card each."""

import streamlit as st

from core.bundle import Form
from core.errors import Unavailable
from experiments.models import find
from intake.library import own_models
from profiling.statistics import wilson_interval
from sample_models import MODELS, ModelCard, SampleModel, card, sample_images
from ui import text
from ui.bring.owned import CARD_WIDTH, draw_owned
from ui.eligibility_view import draw_eligibility
from ui.identity import owner
from ui.images import contact_sheet
from ui.state import open_page

FAMILIES = {"cnn": "Convolutional", "transformer": "Transformer"}
WEIGHTS_FILE: dict[Form, str] = {"torch": "The FP32 weights file.", "keras": "The network in FP32 as a `.tflite` file."}
SAMPLES = {True: (20, 10, 56), False: (5, 5, 116)}
"""Images, columns and side in pixels for small images and for photographs; both sheets have the same size."""


def draw(model: SampleModel) -> None:
    """One model's card."""
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.subheader(model.title, width="content")
            with st.container(horizontal=True, width="content"):
                if model.form == "keras":
                    st.badge("Keras", color="orange")
                st.badge(FAMILIES[model.family], color="blue" if model.family == "cnn" else "violet")
        st.image(sheet(model.key), width="stretch", alt=f"Test images of {model.dataset.title}")
        try:
            facts = card(model.key)
        except Unavailable as missing:
            st.warning(text.escape(str(missing)))
            return
        draw_facts(facts, model.form)
        st.markdown(f"{model.description} *{model.why}*")
        st.space("stretch")
        draw_eligibility(find(model.key))
        draw_origin(model, facts)
        with st.container(horizontal=True):
            if st.button("Profile this model", key=f"profile-{model.key}", icon=":material/speed:", width="stretch"):
                open_page("profile", model=model.key)
            if st.button("Optimise this model", key=f"optimise-{model.key}", icon=":material/tune:", width="stretch"):
                open_page("optimise", model=model.key)


@st.cache_data(show_spinner=False)
def sheet(key: str) -> bytes:
    """The model's first test images as one PNG."""
    is_small = MODELS[key].dataset.title == "Fashion-MNIST"
    count, columns, side = SAMPLES[is_small]
    return contact_sheet(sample_images(key, count)[0], columns=columns, side=side)


def draw_facts(facts: ModelCard, form: Form) -> None:
    """The four numbers that matter, with their conditions."""
    low, high = wilson_interval(facts.correct, facts.test_images)
    accuracy, parameters, macs, size = st.columns(4, gap="xsmall")
    accuracy.metric("Test accuracy", text.share(facts.accuracy))
    parameters.metric("Parameters", text.count(facts.parameter_count))
    macs.metric("MACs", text.count(facts.macs), help="Multiply-accumulate operations for one image.")
    size.metric("Size", text.data_size(facts.size_bytes), help=WEIGHTS_FILE[form])
    st.caption(
        f"{facts.correct:,} of {facts.test_images:,} test images right, "
        f"95 % interval {100 * low:.2f} to {text.share(high)}"
    )


def draw_origin(model: SampleModel, facts: ModelCard) -> None:
    """Where it comes from, under which licence, and how it was trained."""
    with st.expander("Origin, licence and training", key=f"origin-{model.key}"):
        st.markdown(f"**Architecture** · {model.architecture}")
        st.markdown(f"**Model** · {model.source} · {model.licence}")
        st.markdown(f"**Data** · {model.dataset.title}, {model.dataset.source} · {model.dataset.licence}")
        st.markdown(f"**Training** · {facts.recipe}")
        if facts.train_s is not None:
            st.markdown(
                f"{facts.epochs} epochs over {facts.train_images:,} images, seed {facts.seed}, "
                f"{facts.train_s / 60:.1f} min on {facts.device}, {facts.library}, {facts.date[:10]}"
            )


st.title("Models")
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
    st.caption("Trained networks to start from, their accuracy counted on images none was trained on.")
    if st.button("Bring your own", icon=":material/upload_file:", key="bring"):
        open_page("bring")
if own_models(owner()):
    st.subheader("Yours")
    draw_owned()
    st.subheader("With the studio")
with st.grid(3, min_column_width=CARD_WIDTH):
    for sample in MODELS.values():
        draw(sample)
