"""What a person brought so far: the models, and the space that everything takes."""

from __future__ import annotations

import datetime

import streamlit as st

from core.bundle import Form
from experiments.eligibility import eligibility
from intake.library import OwnModel, delete_model, own_folder, own_models
from intake.limits import quota_bytes
from intake.sources import Architecture, Factory, Source
from profiling.statistics import wilson_interval
from ui import text
from ui.eligibility_view import draw_eligibility
from ui.identity import owner
from ui.state import open_page

SOURCES = {
    "onnx": "an ONNX file",
    "keras": "a Keras model",
    "tflite": "a .tflite file",
    "text": "a Hugging Face folder",
}
BADGES: dict[Form, str] = {
    "torch": "PyTorch",
    "onnx": "ONNX",
    "openvino": "OpenVINO",
    "keras": "Keras",
    "tflite": "LiteRT",
}
CARD_WIDTH = 355
"""In pixels at least: two cards stand side by side on a screen of 1024."""


def draw_owned(*, usage: bool = True) -> None:
    """A card for each model, the newest first, and how much of the quota is used."""
    models = own_models(owner())
    with st.grid(3, min_column_width=CARD_WIDTH):
        for model in models:
            draw_model(model)
    if usage:
        draw_usage()


def draw_model(model: OwnModel) -> None:
    """What was found out when it was added, what does not work on it, and the ways on."""
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.subheader(text.escape(model.title), anchor=False, width="content")
            st.badge(BADGES[model.form], color="gray")
        _draw_numbers(model)
        for warning in model.warnings:
            st.warning(text.escape(warning), icon=":material/warning:")
        if refusals := _others(model):
            words = "1 thing does not work on it" if len(refusals) == 1 else f"{len(refusals)} things do not work on it"
            with st.expander(words, key=f"refusals-{model.key}"):
                st.markdown("\n".join(f"- {text.escape(reason)}" for reason in refusals))
        if model.form in ("keras", "tflite"):
            draw_eligibility(model.entry)
        with st.expander("Origin, input and data", key=f"origin-{model.key}"):
            st.markdown(_origin(model))
        st.space("stretch")
        with st.container(horizontal=True):
            if st.button("Profile", key=f"profile-{model.key}", icon=":material/speed:", width="stretch"):
                open_page("profile", model=model.key)
            if st.button("Optimise", key=f"optimise-{model.key}", icon=":material/tune:", width="stretch"):
                open_page("optimise", model=model.key)
            with st.popover("", icon=":material/delete:", help="Delete this model", key=f"delete-{model.key}"):
                st.markdown("Its files are deleted. Runs that were made of it keep their results.")
                if st.button("Delete it", key=f"really-{model.key}", type="primary"):
                    delete_model(owner(), model.key)
                    st.rerun()


def _others(model: OwnModel) -> list[str]:
    """Why something does not work on it, but for what the list of techniques tells."""
    told = {line.key for line in eligibility(model.entry)} if model.form in ("keras", "tflite") else set()
    return [reason for key, reason in model.refusals.items() if key.partition("@")[0] not in told]


def _draw_numbers(model: OwnModel) -> None:
    accuracy, parameters, macs, size = st.columns(4, gap="xsmall")
    if model.metric == "accuracy":
        accuracy.metric("Test accuracy", text.share(model.correct / model.judged))
    else:
        accuracy.metric("Metric", "Agreement", help="No labels: variants are compared with the untouched network.")
    parameters.metric("Parameters", text.count(model.parameter_count))
    macs.metric("MACs", text.count(model.macs), help="Multiply-accumulate operations for one example.")
    size.metric("Size", text.data_size(model.size_bytes), help="Its weights in FP32.")
    if model.metric == "accuracy":
        low, high = wilson_interval(model.correct, model.judged)
        st.caption(
            f"{model.correct:,} of {model.judged:,} test {model.contract.unit} right, 95 % interval {100 * low:.2f} to "
            f"{text.share(high)}"
        )


def _named(source: Source) -> str:
    if isinstance(source, Architecture):
        return f"{source.library} {source.name}"
    return source.target if isinstance(source, Factory) else SOURCES[source.kind]


def _origin(model: OwnModel) -> str:
    counts = ", ".join(f"{count:,} to {name}" for name, count in model.counts.items() if count)
    at = datetime.datetime.fromtimestamp(model.added_at, datetime.UTC)
    lines = [
        f"**Network** · {text.escape(_named(model.source))}, {len(model.labels):,} classes",
        f"**Input** · {text.escape(model.input.summary)}",
        f"**Data** · {text.escape(model.data_title)}: {counts}",
        f"**Added** · {at:%Y-%m-%d %H:%M} UTC",
        *(text.escape(note) for note in model.notes),
    ]
    return "  \n".join(lines)


@st.cache_data(ttl=10, show_spinner=False)
def used_bytes(owner: str) -> int:
    """Bytes of everything that the person brought."""
    return sum(path.stat().st_size for path in own_folder(owner).rglob("*") if path.is_file())


def draw_usage() -> None:
    """How much of the quota is used."""
    used, quota = used_bytes(owner()), quota_bytes()
    st.progress(min(1.0, used / quota), f"{text.data_size(used)} of {text.data_size(quota)} used by what you brought")
