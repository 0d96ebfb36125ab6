"""Puts a model together from what a person brought, and finds out once what it is. Imports torch inside functions."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.bundle import ModelBundle, Network, OnnxGraph, Precision, Task, TfliteModel
from core.data import DataSplits, InputContract, Labels, Split, TextContract
from core.errors import RunFailed
from core.onnx_macs import precision_of_graph
from core.progress import PhaseStarted, Steps
from experiments.bundled_data import write_bundled
from experiments.doubts import guessing, usual_preparations
from experiments.jobs import AddOrder, DataChoice
from experiments.models import offered
from intake import sandbox, shelf, uploads
from intake.index import INDEX_FILE
from intake.items import DATA_FILE, GRAPH_FILE, KERAS_FILE, TFLITE_FILE, WEIGHTS_FILE, ImageSet, KerasFile
from intake.library import MODEL_FILE, SPLITS, OwnModel, TextInput, key_of, models_folder, split_in
from intake.preprocessing import Preprocessing
from intake.sources import Architecture, Described, KerasSource, Source
from intake.splitting import labels_for, match, split
from sample_models import datasets

WEIGHTS, DATA, JUDGE, TRIALS = "Weights", "Data", "Accuracy", "What works on it"
PHASES = (WEIGHTS, DATA, JUDGE, TRIALS)
LABEL_BYTES = 8
_FILES = {
    "architecture": (WEIGHTS_FILE,),
    "onnx": (GRAPH_FILE,),
    "keras": (KERAS_FILE, TFLITE_FILE),
    "tflite": (TFLITE_FILE,),
}
"""Of an item, which hold the network of such a source."""


@dataclass(frozen=True)
class Ingredients:
    """What a model is made of, its weights and its data lying in a draft of its folder."""

    owner: str
    title: str
    source: Source
    input: Preprocessing | TextInput
    labels: tuple[str, ...]
    data_title: str
    is_labelled: bool
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    eligibility: Mapping[str, str] = field(default_factory=dict)
    """Of a Keras model, as its file had it."""


def describe(owner: str, source: Source) -> Described:
    """What is known of a source before it is added. Raises `BadInput` where its weights do not fit."""
    from intake.networks import described

    return described(source, shelf.items_folder(owner))


def add(owner: str, order: AddOrder, draft: Path) -> Steps[str]:
    """The key of a new model of images. Raises `BadInput`, `Refused` or `RunFailed` with what does not fit.

    `Refused` also where it would take more than this person may keep, before anything is written.
    """
    from intake.networks import adopt

    yield PhaseStarted(title=WEIGHTS)
    _refuse_beyond_room(owner, order, _weights_bytes(owner, order.source))
    adopted = yield from adopt(order.source, order.input, shelf.items_folder(owner), draft, logits=order.logits)
    _refuse_beyond_room(owner, order)  # weights that a library had, or a factory made, lie in the draft by now
    yield PhaseStarted(title=DATA)
    labels, is_labelled = yield from _write_data(owner, order, adopted, draft)
    made = Ingredients(
        owner=owner,
        title=order.title,
        source=order.source,
        input=adopted.input,
        labels=labels,
        data_title=order.data_title,
        is_labelled=is_labelled,
        notes=adopted.notes,
        eligibility=_eligibility(owner, order.source),
    )
    return (yield from put_together(made, draft))


def _eligibility(owner: str, source: Source) -> Mapping[str, str]:
    """What was found, when a Keras model was read, of each technique of TensorFlow."""
    item = shelf.item(owner, source.item) if isinstance(source, KerasSource) else None
    return item.eligibility if isinstance(item, KerasFile) else {}


def put_together(made: Ingredients, draft: Path) -> Steps[str]:
    """The key of the model whose weights and data lie in the draft, which becomes its folder."""
    model = yield from _found_out(made, draft)
    place = models_folder(made.owner) / model.key
    if not place.exists():  # the very same was added before
        model = model.model_copy(update={"title": _unlike_others(made.title, made.owner)})
        (draft / MODEL_FILE).write_text(model.model_dump_json())
        draft.rename(place)
    return model.key


def _unlike_others(title: str, owner: str) -> str:
    """The title, with a number where another model is called so: people choose models by what they are called."""
    taken = {each.title for each in offered(owner).values()}
    numbered = (f"{title} ({number})" for number in itertools.count(2))
    return title if title not in taken else next(each for each in numbered if each not in taken)


def _write_data(owner: str, order: AddOrder, adopted: Described, draft: Path) -> Steps[tuple[tuple[str, ...], bool]]:
    """Bring the chosen images to arrays, in the draft; the names of the classes, and whether there are labels."""
    known, choice = order.labels or adopted.labels, order.data
    if choice.bundled:
        labels = yield from write_bundled(choice, order.input.geometry, known, adopted.classes, draft)
        return labels, True
    images, index = _chosen(owner, choice)
    rows = split(
        index,
        train_share=choice.train_share,
        calibrate_share=choice.calibrate_share,
        seed=choice.seed,
    )
    if images.classes:
        pairs = match(images.classes, known, choice.match, classes=adopted.classes, file=images.name)
        rows = {name: [(entry, pairs.get(number, -1)) for entry, number in each] for name, each in rows.items()}
    options = {"geometry": order.input.geometry.model_dump(mode="json"), "rows": rows}
    yield from sandbox.parse("prepare", shelf.item_folder(owner, choice.item) / DATA_FILE, draft, options)
    return labels_for(images.classes, known, adopted.classes), bool(images.classes)


def _chosen(owner: str, choice: DataChoice) -> tuple[ImageSet, list[Any]]:
    """The facts of an uploaded set, and a line for each of its images."""
    images = shelf.item(owner, choice.item)
    assert isinstance(images, ImageSet), "the page offers no other"
    return images, json.loads((shelf.item_folder(owner, choice.item) / INDEX_FILE).read_bytes())


def _refuse_beyond_room(owner: str, order: AddOrder, weights_bytes: int = 0) -> None:
    """Raises `Refused` where the weights and the images, brought to arrays, are over what this person may keep."""
    count, geometry = _count(owner, order.data), order.input.geometry
    each = geometry.channels * geometry.height * geometry.width
    what = f"With its {count:,} images of {geometry.channels} x {geometry.height} x {geometry.width} the model takes"
    uploads.refuse_beyond_room(owner, what, count * (each + LABEL_BYTES) + weights_bytes)


def _count(owner: str, choice: DataChoice) -> int:
    """How many images a choice of data has."""
    if not choice.bundled:
        return len(_chosen(owner, choice)[1])
    known = datasets.FASHION_MNIST if choice.bundled == "fashion_mnist" else datasets.PHOTOGRAPHS
    return (known.train if choice.train_share else 0) + known.calibrate + known.test


def _weights_bytes(owner: str, source: Source) -> int:
    """Of an uploaded file as it was written anew; 0 for weights that come from elsewhere."""
    names = _FILES.get(source.kind, ())
    item = source.weights if isinstance(source, Architecture) else getattr(source, "item", "")
    paths = [shelf.item_folder(owner, item) / name for name in names] if item else []
    return sum(path.stat().st_size for path in paths if path.is_file())


def _found_out(made: Ingredients, draft: Path) -> Steps[OwnModel]:
    """Ask the network about its data once, and try what works on it."""
    from experiments.trials import trials
    from intake.family import family_of
    from intake.networks import network_of

    network = network_of(made.source, draft, made.input)
    splits = DataSplits(**{name: split_in(draft, name) for name in SPLITS})
    contract = _contract(made)
    family = family_of(network, contract)
    precision = _precision(network)
    task: Task = "text" if isinstance(made.input, TextInput) else "images"
    bundle = ModelBundle(made.title, family, network, contract, splits, precision, task=task)
    yield PhaseStarted(title=JUDGE)
    if not made.is_labelled:
        yield from _label(bundle, draft)
    test = split_in(draft, "test")
    labelled = (test.labels >= 0).any(axis=1)
    judged = Split(test.pixels[labelled], test.labels[labelled])
    predicted = yield from _predicted(bundle, judged)
    correct = int(judged.is_correct(predicted).sum())
    doubts = guessing(correct, predicted, len(made.labels), contract.unit) if made.is_labelled else ()
    prepared = (yield from usual_preparations(bundle, made.input)) if made.is_labelled else None
    yield PhaseStarted(title=TRIALS)
    refusals = yield from trials(bundle)
    parameters, macs = _counted(bundle)
    return OwnModel(
        key=key_of(made.title, _content(made, draft), bundle.form),
        title=made.title,
        owner=made.owner,
        family=family,
        task=bundle.task,
        form=bundle.form,
        precision=precision,
        source=made.source,
        input=made.input,
        labels=made.labels,
        data_title=made.data_title,
        counts={name: len(split_in(draft, name)) for name in SPLITS},
        metric="accuracy" if made.is_labelled else "agreement",
        parameter_count=parameters,
        macs=macs,
        size_bytes=4 * parameters,
        correct=correct,
        judged=len(predicted),
        refusals=refusals | {key: reason for key, reason in made.eligibility.items() if reason},
        notes=(*made.notes, *([prepared.found] if prepared else [])),
        warnings=(*([prepared.doubt] if prepared and prepared.doubt else []), *made.warnings, *doubts),
        advised=prepared.advised if prepared else None,
        added_at=time.time(),
    )


def _precision(network: Network) -> Precision:
    """What an untouched network computes in."""
    from core.tflite_file import precision_of_file

    if isinstance(network, OnnxGraph):
        return precision_of_graph(network.content)
    return precision_of_file(network.content) if isinstance(network, TfliteModel) else "fp32"


def _contract(made: Ingredients) -> TextContract | InputContract:
    if isinstance(made.input, TextInput):
        return TextContract(made.input.length, made.input.padding, made.labels)
    return made.input.contract(made.labels)


def _label(bundle: ModelBundle, draft: Path) -> Steps[None]:
    """Examples without labels get what the untouched network answers: what is measured is agreement with it."""
    for name in SPLITS:
        predicted = yield from _predicted(bundle, split_in(draft, name))
        np.save(draft / f"{name}-labels.npy", predicted[:, None])


def _predicted(bundle: ModelBundle, examples: Split) -> Steps[Labels]:
    """int64 [N]: the class that the untouched network answers with. Raises `RunFailed` where it is not finite."""
    from profiling.fidelity import source_logits

    if not len(examples):
        return np.empty(0, np.int64)
    logits = yield from source_logits(bundle.network, examples.pixels, bundle.contract)
    if broken := int((~np.isfinite(logits)).any(1).sum()):
        raise RunFailed(
            f"The network's answers to {broken:,} of {len(logits):,} {bundle.contract.unit} are not finite numbers",
            action="Check the weights, and how examples become its input",
        )
    return np.asarray(logits.argmax(1), np.int64)


def _counted(bundle: ModelBundle) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one example."""
    from core.onnx_macs import parameters_of_graph
    from core.tflite_file import facts_of, tflite_of
    from profiling.size import macs_of

    if content := tflite_of(bundle.network):
        facts = facts_of(content)
        return facts.parameter_count, facts.macs
    if isinstance(bundle.network, OnnxGraph):
        return parameters_of_graph(bundle.network.content)[0], macs_of(bundle)
    return sum(each.numel() for each in bundle.module.parameters()), macs_of(bundle)


def _content(made: Ingredients, draft: Path) -> str:
    """All that the model is made of, as one text: models that share it are the same."""
    hashes = {path.name: _hash_of(path) for path in sorted(draft.iterdir()) if path.is_file()}
    form = made.input.model_dump(mode="json", exclude={"source"})
    return json.dumps([made.owner, made.source.kind, form, made.labels, hashes], sort_keys=True)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
