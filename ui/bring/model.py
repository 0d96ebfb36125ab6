"""The first section: which network, and with which weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import streamlit as st

from bridges.environments import TENSORFLOW
from core.errors import BadInput
from experiments.jobs import DescribeOrder, Job, cancel, forget, job, start
from intake.architectures import IMAGENET_CLASSES, KnownArchitecture, catalogue, names_of_classes
from intake.items import Graph, Item, KerasFile, TfliteFile, Weights
from intake.litert_files import described_file
from intake.preprocessing import of_graph
from intake.sources import Architecture, Described, KerasSource, OnnxFile, TfliteSource
from ui import text
from ui.bring.eligibility import draw_tried
from ui.bring.files import draw_delete, draw_notes, of_kind, titles_of
from ui.bring.work import Work, draw_refusal
from ui.identity import owner
from ui.missing import draw_missing
from ui.upload_box import upload_box

STATE = st.session_state
PRETRAINED, ASKED = "", "bring.asked"
NEEDS_TENSORFLOW = "Only TensorFlow reads .keras and .h5 files and SavedModels; all else needs nothing more."
MOST_CHARACTERS = 200_000
"""Of all names of classes together."""


@dataclass(frozen=True)
class ChosenModel:
    """A network with weights that fit it."""

    source: Architecture | OnnxFile | KerasSource | TfliteSource
    described: Described
    title: str
    """What it may be called."""
    logits: str = ""
    """Of an ONNX file with several outputs, the one that answers."""

    @property
    def key(self) -> str:
        """The same for the same network with the same file and as many classes, and for no other."""
        said = f"{owner()} {self.source.model_dump_json()} {self.described.classes}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def choose_model(work: Work) -> ChosenModel | None:
    """What the person chose, once it is known to fit; None before."""
    st.subheader("1 · The model")
    upload_box("model", key="bring.upload-model")
    if TENSORFLOW.why_missing:
        st.caption(NEEDS_TENSORFLOW)
        draw_missing(TENSORFLOW)
    work.draw("model")
    found = of_kind(Weights, Graph, KerasFile, TfliteFile)
    titles = {**titles_of(found), PRETRAINED: "Pretrained weights of a named architecture"}
    options = [*found, PRETRAINED]
    if STATE.get("bring.file") not in options:
        STATE["bring.file"] = options[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Weights",
            options,
            format_func=titles.__getitem__,
            key="bring.file",
            help="A file that you uploaded, or the weights that torchvision or timm downloads for an architecture.",
        )
        if chosen in found:
            draw_delete(chosen)
    item = found.get(chosen)
    if item:
        draw_notes(item)
    model = _model_of(chosen, item, work)
    if model and (isinstance(item, TfliteFile) or not model.described.labels):
        return _named(model)
    return model


def _model_of(key: str, item: Item | None, work: Work) -> ChosenModel | None:
    if isinstance(item, Graph):
        return _choose_graph(key, item)
    if isinstance(item, KerasFile | TfliteFile):
        return _choose_file(key, item)
    return _choose_architecture(key, work)


def _named(model: ChosenModel) -> ChosenModel:
    """With the names that the person gives its classes; as it is without. Raises `BadInput` for another number."""
    known = "\n".join(model.described.labels)
    if len(known) > MOST_CHARACTERS:
        return model
    with st.expander("Names of the classes (optional)", key=f"bring.name-classes-{model.key}"):
        given = st.text_area(
            f"One a line, {model.described.classes:,} in the order of the network's answers",
            known, key=f"bring.names-{model.key}", max_chars=MOST_CHARACTERS, placeholder="ant\nbee\nbeetle",
            help="Folders and labels of images are matched with them, and every page shows them.",
        )  # fmt: skip
    names = tuple(name for line in given.splitlines() if (name := line.strip()))
    if not names:
        return model
    if len(names) != model.described.classes:
        raise BadInput(
            f"The number of names of classes is {len(names):,}",
            expected=f"{model.described.classes:,}, one for each class of the network",
            action="Give one a line, or none at all",
        )
    return replace(model, described=model.described.model_copy(update={"labels": names}))


def _choose_graph(key: str, item: Graph) -> ChosenModel:
    draw_graph_facts(item)
    logits = item.outputs[0]
    if len(item.outputs) > 1:
        logits = st.selectbox(
            "Output that answers", item.outputs, help="One row for each image, one number for each class.",
            key=f"bring.logits-{key}",
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


def _choose_file(key: str, item: KerasFile | TfliteFile) -> ChosenModel:
    draw_file_facts(item)
    source = KerasSource(item=key) if isinstance(item, KerasFile) else TfliteSource(item=key)
    return ChosenModel(source, described_file(item), item.name.rpartition(".")[0] or item.name)


def draw_file_facts(item: KerasFile | TfliteFile) -> None:
    """The numbers of a Keras model or a `.tflite` file, and what can be done with it."""
    columns = st.columns(4)
    columns[0].metric("Parameters", text.count(item.parameter_count))
    columns[1].metric("MACs", text.count(item.macs), help="Multiply-accumulate operations for one image.")
    columns[2].metric("Classes", f"{item.classes:,}")
    if isinstance(item, KerasFile):
        columns[3].metric("Layers", f"{item.layers:,}", help=f"Saved as {text.escape(item.saved_as)}.")
        st.info(KERAS_WORKS, icon=":material/info:")
        draw_tried(item.eligibility)
    else:
        operators = ", ".join(f"{count} {name}" for name, count in item.operators.items())
        columns[3].metric("Operators", f"{sum(item.operators.values()):,}", help=f"{text.escape(operators)}.")
        st.info(QUANTIZED_WORKS if item.quantized else TFLITE_WORKS, icon=":material/info:")


def _choose_architecture(weights: str, work: Work) -> ChosenModel | None:
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
    place = f"bring.classes-{chosen.id}-{weights}"
    STATE.setdefault(place, chosen.classes or IMAGENET_CLASSES)
    classes = right.number_input("Classes", 2, 100_000, key=place, help=CLASSES_HELP, disabled=not weights)
    source = Architecture(library=chosen.library, name=chosen.name, classes=classes, weights=weights)
    described = _described(source, work)
    if described and described.classes != classes:
        _offer_classes(described.classes, classes, place)
        return None
    return ChosenModel(source, described, chosen.name) if described else None


@st.cache_data(show_spinner="Asking torchvision and timm what they have")
def _catalogue() -> tuple[KnownArchitecture, ...]:
    return catalogue()


KERAS_WORKS = (
    "A Keras model is measured in LiteRT and OpenVINO. TensorFlow prunes, clusters and trains it as far as the list "
    "says, and LiteRT's own quantizer rounds what it was converted to."
)
TFLITE_WORKS = (
    "A .tflite file is measured in LiteRT and OpenVINO and quantized by LiteRT's own quantizer. To prune, cluster or "
    "train it, the Keras model that it was made from is needed."
)
QUANTIZED_WORKS = (
    "This .tflite file is quantized already: it is measured in LiteRT and OpenVINO as it is. To quantize it otherwise, "
    "bring the float file that it was made from; to prune or to train it, the Keras model."
)
CLASSES_HELP = "How many numbers the network answers with. Where the weights have another count, it is offered."


def _offer_classes(found: int, asked: int, place: str) -> None:
    st.warning(f"The weights have {found:,} classes, not {asked:,}.", icon=":material/warning:")
    st.button(
        f"Use {found:,} classes", key="bring.use-classes", type="primary", icon=":material/check:",
        on_click=STATE.__setitem__, args=(place, found),
    )  # fmt: skip


def _described(source: Architecture, work: Work) -> Described | None:
    """What a job found out about it, once it has; its progress or its refusal on screen otherwise."""
    place = "bring.described-" + hashlib.sha256(f"{owner()} {source.model_dump_json()}".encode()).hexdigest()[:16]
    found = _answer(place, source)
    if found.state == "running":
        work.draw_running(found)
        return None
    if found.state == "failed":
        draw_refusal(found.sentence, found.snippet)
        _offer_again(place, found)
        return None
    described = Described.model_validate(found.result)
    for note in described.notes:
        st.caption(text.escape(note))
    return described


def _answer(place: str, source: Architecture) -> Job:
    """The job that looks it up, begun where there is none; one that ended is kept in the session, and nowhere else.

    What was asked before, and is not wanted any more, is given up.
    """
    known = STATE.get(place, "")
    if isinstance(known, Job):
        return known
    found = job(owner(), known)
    if found is None or found.state == "cancelled":
        cancel(owner(), STATE.get(ASKED, ""))
        STATE[place] = STATE[ASKED] = start(owner(), DescribeOrder(source=source))
        found = job(owner(), STATE[place])
        assert found, "it has just begun"
    if found.state != "running":
        STATE[place] = found
        forget(owner(), found.id)
    return found


def _offer_again(place: str, found: Job) -> None:
    if st.button("Try again", key=f"again-{found.id}", icon=":material/refresh:"):
        del STATE[place]
        st.rerun()
