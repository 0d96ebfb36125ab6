"""The first section: which network, and with which weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import streamlit as st

from experiments.jobs import DescribeOrder, Job, job, start
from intake.architectures import IMAGENET_CLASSES, KnownArchitecture, catalogue, names_of_classes
from intake.items import Graph, Weights
from intake.preprocessing import of_graph
from intake.sources import Architecture, Described, OnnxFile
from ui import text
from ui.bring.files import draw_delete, draw_notes, name_of, of_kind
from ui.bring.work import draw_refusal, draw_running
from ui.identity import owner
from ui.upload_box import upload_box

STATE = st.session_state
PRETRAINED = ""
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class ChosenModel:
    """A network with weights that fit it."""

    source: Architecture | OnnxFile
    described: Described
    title: str
    """What it may be called."""
    logits: str = ""
    """Of an ONNX file with several outputs, the one that answers."""


def choose_model() -> ChosenModel | None:
    """What the person chose, once it is known to fit; None before."""
    st.subheader("1 · The model")
    upload_box("model", key="bring.upload-model")
    found = of_kind(Weights, Graph)
    options = [*found, PRETRAINED]
    if STATE.get("bring.file") not in options:
        STATE["bring.file"] = options[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Weights",
            options,
            format_func=lambda key: name_of(found[key]) if key else "Pretrained weights of a named architecture",
            key="bring.file",
            help="A file that you uploaded, or the weights that torchvision or timm downloads for an architecture.",
        )
        if chosen in found:
            draw_delete(chosen)
    item = found.get(chosen)
    if item:
        draw_notes(item)
    if isinstance(item, Graph):
        return _choose_graph(chosen, item)
    return _choose_architecture(chosen)


def _choose_graph(key: str, item: Graph) -> ChosenModel:
    draw_graph_facts(item)
    logits = item.outputs[0]
    if len(item.outputs) > 1:
        logits = st.selectbox(
            "Output that answers", item.outputs, help="One row for each image, one number for each class.",
            format_func=text.escape, key=f"bring.logits-{key}",
        )  # fmt: skip
    described = Described(classes=item.classes, labels=names_of_classes(item.classes), input=of_graph(item))
    title = item.name.rpartition(".")[0] or item.name
    return ChosenModel(OnnxFile(item=key), described, title, "" if logits == item.outputs[0] else logits)


def draw_graph_facts(item: Graph) -> None:
    """The numbers of an ONNX file, and what it can be used for."""
    columns = st.columns(4)
    columns[0].metric("Parameters", text.count(item.parameter_count))
    columns[1].metric("MACs", text.count(item.macs), help="Multiply-accumulate operations for one image.")
    columns[2].metric("Classes", f"{item.classes:,}")
    columns[3].metric("Opset", item.opset, help="Version of the ONNX operators that it is written in.")
    st.info(
        "An ONNX file is measured in every engine that reads ONNX, is quantized as it stands, and can be a teacher. "
        "To prune it, to train it or to make it a student, its weights are needed with the name of their architecture.",
        icon=":material/info:",
    )


def _choose_architecture(weights: str) -> ChosenModel | None:
    offered = {each.id: each for each in _catalogue() if weights or each.classes}
    left, right = st.columns([3, 1])
    key = left.selectbox(
        "Architecture", list(offered), None, format_func=lambda key: offered[key].title, key="bring.architecture",
        placeholder="Type a part of its name: resnet50, convnext, vit ...",
        help="The weights must be those of this very architecture.",
    )  # fmt: skip
    if key is None:
        return None
    chosen = offered[key]
    usual = chosen.classes or IMAGENET_CLASSES
    classes = right.number_input(
        "Classes", 2, 100_000, usual, key=f"bring.classes-{chosen.id}-{weights}", help=CLASSES_HELP,
        disabled=not weights,
    )  # fmt: skip
    source = Architecture(library=chosen.library, name=chosen.name, classes=classes, weights=weights)
    described = _described(source)
    return ChosenModel(source, described, chosen.name) if described else None


@st.cache_data(show_spinner="Asking torchvision and timm what they have")
def _catalogue() -> tuple[KnownArchitecture, ...]:
    return catalogue()


CLASSES_HELP = "How many numbers the network answers with. Where the weights have another count, it is offered."


def _described(source: Architecture) -> Described | None:
    """What a job found out about it, once it has; its progress or its refusal on screen otherwise."""
    place = "bring.described-" + hashlib.sha256(f"{owner()} {source.model_dump_json()}".encode()).hexdigest()[:16]
    found = job(owner(), STATE.get(place, ""))
    if found is None or found.state == "cancelled":
        STATE[place] = start(owner(), DescribeOrder(source=source))
        found = job(owner(), STATE[place])
        assert found, "it has just begun"
    if found.state == "running":
        st.fragment(_draw_description, run_every=POLL_SECONDS)(found.id)
        return None
    if found.state == "failed":
        draw_refusal(found.sentence, found.snippet)
        _offer_again(place, found)
        return None
    described = Described.model_validate(found.result)
    if described.classes != source.classes:
        st.warning(
            f"The weights have {described.classes:,} classes, not {source.classes:,}. Set Classes to "
            f"{described.classes:,} to go on.",
            icon=":material/warning:",
        )
        return None
    for note in described.notes:
        st.caption(text.escape(note))
    return described


def _draw_description(key: str) -> None:
    found = job(owner(), key)
    if found is None or found.state != "running":
        st.rerun()
    draw_running(found)


def _offer_again(place: str, found: Job) -> None:
    if st.button("Try again", key=f"again-{found.id}", icon=":material/refresh:"):
        del STATE[place]
        st.rerun()
