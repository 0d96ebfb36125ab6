"""The models that people brought, each put together once and never changed: what runs on it can be repeated.

own/<owner>/uploads/<id>/   what is being uploaded and checked
own/<owner>/items/<id>/     what was found good, written anew: `items`
own/<owner>/deleted/        `<key>.json`: what a model that was deleted was called, as its runs still are
own/<owner>/models/<key>/   `model.json`, the weights (`weights.safetensors`, `model.onnx`, `keras.npz` with
                            `model.tflite`, or the latter alone) and the prepared examples (`train.npy`,
                            `train-labels.npy` and so on)
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from core.bundle import Family, Form, ModelBundle, Precision, Task
from core.catalogue import ModelEntry
from core.data import Contract, DataSplits, Pixels, Split, TextContract
from core.errors import BadInput, Unavailable
from core.folders import data_folder
from core.judging import Metric
from intake.preprocessing import Preprocessing
from intake.sources import Source

MODEL_FILE = "model.json"
EVERYONE = "everyone"
"""In the place of an owner, where nobody has to say who they are."""
OWN_PREFIX, GRAPH_PREFIX, LITERT_PREFIXES = "own-", "onnx-", ("keras-", "tflite-")
"""How keys begin: of networks of torch, of ONNX files, and of what LiteRT serves: of Keras, and `.tflite` files."""
_PREFIXES: dict[Form, str] = {"onnx": GRAPH_PREFIX, **dict(zip(("keras", "tflite"), LITERT_PREFIXES, strict=True))}
SPLITS = ("train", "calibrate", "test")
_KEY = re.compile(f"({'|'.join((OWN_PREFIX, *_PREFIXES.values()))})[a-z0-9-]+")


class TextInput(BaseModel):
    """How sequences of tokens are prepared."""

    model_config = ConfigDict(frozen=True)

    length: int
    padding: int

    @property
    def summary(self) -> str:
        """In a few words."""
        return f"sequences of {self.length} tokens"


class OwnModel(BaseModel):
    """One model of a person's, as `model.json` keeps it."""

    model_config = ConfigDict(frozen=True)

    key: str
    title: str
    owner: str
    family: Family
    task: Task = "images"
    form: Form = "torch"
    precision: Precision = "fp32"
    """What it computes in as it is: `int8` where an ONNX file was quantized already."""
    source: Source
    input: Preprocessing | TextInput
    labels: tuple[str, ...]
    data_title: str
    counts: dict[str, int]
    """Examples of each of `SPLITS`."""
    metric: Metric = "accuracy"
    parameter_count: int
    macs: int
    size_bytes: int
    """Of the weights in FP32."""
    correct: int
    """Of the first `judged` test examples, by the untouched network."""
    judged: int
    refusals: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    advised: Preprocessing | None = None
    """The preparation of its images with which it was clearly more accurate than with its own; None where none was."""
    added_at: float
    """Seconds since the epoch."""

    @property
    def contract(self) -> Contract:
        """What the network expects."""
        if isinstance(self.input, TextInput):
            return TextContract(self.input.length, self.input.padding, self.labels)
        return self.input.contract(self.labels)

    @property
    def entry(self) -> ModelEntry:
        """What every page knows of a model."""
        return ModelEntry(
            key=self.key,
            title=self.title,
            family=self.family,
            labels=self.labels,
            data_title=self.data_title,
            **{split: self.counts[split] for split in SPLITS},
            task=self.task,
            form=self.form,
            precision=self.precision,
            metric=self.metric,
            refusals=self.refusals,
            is_own=True,
            owner=self.owner,
        )


class Deleted(BaseModel):
    """What is kept of a model that was deleted."""

    title: str


def own_folder(owner: str) -> Path:
    """Everything that a person brought. Created when missing."""
    folder = data_folder() / "own" / (_name_of(owner) if owner else EVERYONE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def models_folder(owner: str) -> Path:
    """Where the models lie, each in a folder called by its key. Created when missing."""
    folder = own_folder(owner) / "models"
    folder.mkdir(exist_ok=True)
    return folder


def _name_of(owner: str) -> str:
    """A folder's name that no two owners share, whatever characters they are called by."""
    return f"user-{hashlib.sha256(owner.encode()).hexdigest()[:16]}"


def key_of(title: str, content: str, form: Form = "torch") -> str:
    """The key of a model: its form, its title in letters that an address can hold, and a hash of what it is made of.

    The form is told by the key alone, so that runs of a model that was deleted still know what they compare with. It
    has at most 56 characters.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:32] or "model"
    return f"{_PREFIXES.get(form, OWN_PREFIX)}{slug}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def entries(owner: str = "") -> list[ModelEntry]:
    """What this person brought, the newest first."""
    return [each.entry for each in own_models(owner)]


def own_models(owner: str = "") -> list[OwnModel]:
    """The same with all that was found out about each."""
    found = [model for path in _model_files(owner) if (model := _read(path, path.stat().st_mtime_ns))]
    return sorted(found, key=lambda each: -each.added_at)


def own_model(key: str) -> OwnModel | None:
    """The model of that key, whoever brought it; None where it is not here."""
    folder = _folder_of(key)
    path = folder / MODEL_FILE if folder else None
    return _read(path, path.stat().st_mtime_ns) if path else None


def entry(key: str) -> ModelEntry | None:
    """What every page knows of the model of that key, whoever brought it; None where it is not here."""
    model = own_model(key)
    return model.entry if model else None


def contract(key: str) -> Contract:
    """What it expects as input. Raises `BadInput` where it is not here."""
    return _here(key).contract


def load(key: str) -> ModelBundle:
    """The network, on the CPU and in eval mode, with its data. Imports torch. Raises `BadInput`, `Unavailable`."""
    from intake.networks import network_of

    model = _here(key)
    folder = folder_of(key)
    splits = DataSplits(**{name: split_in(folder, name) for name in SPLITS})
    network = network_of(model.source, folder, model.input)
    return ModelBundle(
        key, model.family, network, model.contract, splits, model.precision, task=model.task, metric=model.metric
    )


def samples(key: str, count: int) -> tuple[Pixels, tuple[str, ...]]:
    """uint8 [count, C, H, W] of the test set and the class of each, empty where it has no label."""
    split = split_in(folder_of(key), "test").take(count)
    labels = _here(key).labels
    return np.asarray(split.pixels), tuple(labels[target] if target >= 0 else "" for target in split.targets)


def test_split(key: str) -> Split:
    """The labelled test examples in the order in which accuracy is measured; read-only."""
    split = split_in(folder_of(key), "test")
    labelled = (split.labels >= 0).any(axis=1)
    return split if labelled.all() else Split(split.pixels[labelled], split.labels[labelled])


def folder_of(key: str) -> Path:
    """Where its files lie. Raises `BadInput` where it is not here."""
    folder = _folder_of(key)
    if folder is None:
        raise _gone(key)
    return folder


def delete_model(owner: str, key: str) -> None:
    """Forget a model of this person's and its files. Runs that were made of it keep their results and artifacts.

    Raises `BadInput` where they have none of that key.
    """
    folder = models_folder(owner) / key
    if not (_KEY.fullmatch(key) and (folder / MODEL_FILE).is_file()):
        raise _gone(key)
    model = _read(folder / MODEL_FILE, (folder / MODEL_FILE).stat().st_mtime_ns)
    kept = own_folder(owner) / "deleted" / f"{key}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(Deleted(title=model.title if model else key).model_dump_json())
    shutil.rmtree(folder)


def deleted_title(key: str, owner: str | None = None) -> str:
    """What a model that was deleted was called; empty where none was or, with an owner, none that they could use."""
    if not _KEY.fullmatch(key):
        return ""
    folders = (data_folder() / "own").glob("*") if owner is None else {own_folder(owner), own_folder("")}
    for folder in folders:
        try:
            return Deleted.model_validate_json((folder / "deleted" / f"{key}.json").read_bytes()).title
        except (OSError, ValidationError):
            continue
    return ""


def _here(key: str) -> OwnModel:
    model = own_model(key)
    if model is None:
        raise _gone(key)
    return model


def _gone(key: str) -> BadInput:
    return BadInput(f"The model {key} is not here any more", action="Add it again on the page Bring your own")


def _model_files(owner: str) -> Iterator[Path]:
    return models_folder(owner).glob(f"*/{MODEL_FILE}")


def _folder_of(key: str) -> Path | None:
    if not _KEY.fullmatch(key):
        return None
    return next((path.parent for path in (data_folder() / "own").glob(f"*/models/{key}/{MODEL_FILE}")), None)


@lru_cache(maxsize=512)
def _read(path: Path, _changed_ns: int) -> OwnModel | None:
    """The model of a file; None where it cannot be read, as of one that another version wrote."""
    try:
        return OwnModel.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def split_in(folder: Path, name: str) -> Split:
    """One of `SPLITS` in a model's folder, mapped into memory. Raises `Unavailable` where it is damaged."""
    try:
        pixels = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return Split(pixels, np.load(folder / f"{name}-labels.npy", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise Unavailable(f"The data of this model cannot be read ({error})", action="Add the model again") from None
