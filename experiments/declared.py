"""Models that the owner of the machine names in a file or on the command line, their own code among them.

models:
  - title: Flowers
    architecture: torchvision/resnet18
    weights: flowers.safetensors
    data: flowers/                  # a folder or zip of class folders, an npz
    train: 0.2
  - factory: nets.small:make        # imported from the folder of this file
    data: digits.npz
    input: {colour: gray, height: 28, width: 28, mean: [72.9], std: [90.0]}
  - onnx: detector.onnx
    data: photographs               # or fashion_mnist: images of the studio
  - keras: classifier.keras         # or .h5, or the zip of a SavedModel
    data: photographs
  - tflite: classifier.tflite
    data: photographs
  - text: sentiment/                # a Hugging Face folder
    data: reviews.csv
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import BadInput, StudioError
from core.progress import PhaseStarted, Progress, Steps
from experiments.adding import add, describe
from experiments.bringing import keep_checked
from experiments.jobs import AddOrder, DataChoice
from intake import shelf
from intake.items import ImageSet, Item
from intake.library import own_folder
from intake.preprocessing import Preprocessing
from intake.sources import Architecture, Described, Factory, KerasSource, OnnxFile, Source, TfliteSource
from intake.splitting import match

BUNDLED = ("fashion_mnist", "photographs")
FILE = "models.yaml"
KINDS = ("architecture", "onnx", "keras", "tflite", "factory", "text")
PACKING = "Pack the folder"
_TRIED: tuple[Literal["names", "background"], ...] = ("names", "background")
_SOURCES: dict[str, type[OnnxFile | KerasSource | TfliteSource]] = {
    "graph": OnnxFile,
    "keras": KerasSource,
    "tflite": TfliteSource,
}
"""Of the kinds of items that are whole networks."""


class Declared(BaseModel):
    """One model with its data. Paths may be relative to the file that names them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field("", max_length=80)
    architecture: str = ""
    """`torchvision/resnet18`, `timm/convnext_tiny`."""
    weights: Path | None = None
    """Of the architecture; without them, those that its library downloads."""
    classes: int | None = None
    onnx: Path | None = None
    keras: Path | None = None
    """A `.keras` or `.h5` file, or a SavedModel as a zip or a folder."""
    tflite: Path | None = None
    factory: str = ""
    """`package.module:function`."""
    text: Path | None = None
    data: str
    train: float = Field(0.0, ge=0, le=0.8)
    calibrate: float = Field(0.2, gt=0, le=0.5)
    seed: int = 0
    match: Literal["", "names", "order", "background"] = ""
    """How classes of data and network belong together; by name where that is possible, if not said."""
    input: dict[str, Any] = {}
    """What differs from the input that the model tells of itself: fields of `Preprocessing`."""
    length: int | None = None
    """Tokens of a text; by default what most texts of the data need."""

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is. Raises `BadInput` where it is none, or several."""
        found = [kind for kind in KINDS if getattr(self, kind)]
        if len(found) != 1:
            raise BadInput(
                f"A model is said to be {' and '.join(found) or 'nothing'}", expected=f"one of {', '.join(KINDS)}"
            )
        return found[0]

    def name(self) -> str:
        """The title, or what it is made of."""
        file = self.onnx or self.keras or self.tflite or self.text or Path("model")
        made_of = self.architecture or self.factory or str(file.stem)
        return self.title or made_of.rpartition("/")[2].replace(":", " ")


def read(path: Path) -> tuple[Declared, ...]:
    """The models of a file. Raises `BadInput` that names what is wrong in it."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read ({error})", expected=f"a {FILE}") from None
    entries = content.get("models") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path} names no models", expected="`models:` and a list")
    return tuple(validated(entry, f"{path.name}, model {number}") for number, entry in enumerate(entries, start=1))


def validated(entry: Any, where: str) -> Declared:
    """The model that plain data describe. Raises `BadInput` naming each field that is wrong."""
    try:
        declared = Declared.model_validate(entry)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BadInput(f"{where}: {reasons}", action="Correct these fields") from None
    _ = declared.kind
    return declared


def bring(declared: Declared, folder: Path, owner: str = "") -> Steps[str]:
    """The key of the model, once it is added; relative paths begin at `folder`. Raises `StudioError`s."""
    if declared.kind == "text":
        from experiments.adding_texts import add_texts

        assert declared.text, "its kind says so"
        return (
            yield from add_texts(
                folder / declared.text,
                folder / declared.data,
                title=declared.title,
                length=declared.length or 0,
                shares=(declared.train, declared.calibrate),
                seed=declared.seed,
                owner=owner,
            )
        )
    with _items(owner) as kept:
        source = yield from _source(declared, folder, owner, kept)
        described = describe(owner, source)
        if isinstance(source, Architecture) and declared.classes is None:
            source = source.model_copy(update={"classes": described.classes})
        choice = yield from _data(declared, folder, owner, kept, described)
        order = AddOrder(
            title=declared.name(),
            source=source,
            input=_input(declared, described.input),
            data=choice,
            labels=described.labels,
            data_title=Path(declared.data).name,
        )
        with tempfile.TemporaryDirectory(dir=own_folder(owner)) as draft:
            place = Path(draft) / "draft"
            place.mkdir()
            key = yield from add(owner, order, place)
    return key


@contextmanager
def _items(owner: str) -> Iterator[list[str]]:
    """A list of items that are deleted at the end: the model has what it needs of them."""
    kept: list[str] = []
    try:
        yield kept
    finally:
        for key in kept:
            shelf.delete_item(owner, key)


def _source(declared: Declared, folder: Path, owner: str, kept: list[str]) -> Steps[Source]:
    if declared.factory:
        return Factory(target=declared.factory, path=folder)
    if file := declared.onnx or declared.keras or declared.tflite:
        kept.append((yield from _item(folder / file, "model", owner)))
        return _of_file(kept[-1], shelf.item(owner, kept[-1]), file)
    library, _, name = declared.architecture.partition("/")
    weights = ""
    if declared.weights:
        weights = yield from _item(folder / declared.weights, "model", owner)
        kept.append(weights)
    try:
        return Architecture.model_validate(
            {"library": library, "name": name, "classes": declared.classes or 1000, "weights": weights}
        )
    except ValidationError:
        raise BadInput(
            f"The architecture is {declared.architecture}", expected="torchvision/NAME or timm/NAME"
        ) from None


def _of_file(key: str, item: Item, file: Path) -> Source:
    """The source that an item of a whole network is. Raises `BadInput` for weights alone."""
    if item.kind not in _SOURCES:
        raise BadInput(
            f"{file} holds {item.kind} and no whole network",
            expected="a network in .onnx, .keras, .h5 or .tflite, or the zip of a SavedModel",
            action="Name the architecture that weights belong to",
        )
    return _SOURCES[item.kind](item=key)


def _data(declared: Declared, folder: Path, owner: str, kept: list[str], described: Described) -> Steps[DataChoice]:
    shares = {"train_share": declared.train, "calibrate_share": declared.calibrate, "seed": declared.seed}
    if declared.data in BUNDLED:
        return DataChoice.model_validate({"bundled": declared.data, **shares})
    kept.append((yield from _item(folder / declared.data, "data", owner)))
    images = cast(ImageSet, shelf.item(owner, kept[-1]))
    how = declared.match or _best_match(images, described)
    return DataChoice.model_validate({"item": kept[-1], "match": how, **shares})


def _best_match(images: ImageSet, described: Described) -> str:
    for how in _TRIED:
        with suppress(StudioError):
            match(images.classes, described.labels, how, classes=described.classes)
            return how
    return "order"


def _input(declared: Declared, start: Preprocessing) -> Preprocessing:
    given = declared.input | ({"source": "by hand"} if declared.input else {})
    try:
        return Preprocessing.model_validate(start.model_dump() | given)
    except ValidationError as error:
        reasons = "; ".join(each["msg"] for each in error.errors())
        raise BadInput(f"The input of {declared.name()}: {reasons}", action="Correct it") from None


def _item(path: Path, wanted: Literal["model", "data"], owner: str) -> Steps[str]:
    """The item that a local file, or a folder of images, becomes."""
    if not path.exists():
        raise BadInput(f"{path} is not there", expected="a file or a folder of this machine")
    with tempfile.TemporaryDirectory(dir=own_folder(owner)) as scratch:
        draft = Path(scratch) / "draft"
        draft.mkdir()
        file = Path(scratch) / (path.name if path.is_file() else f"{path.name}.zip")
        if path.is_dir():
            yield from _pack(path, file)
        else:
            shutil.copyfile(path, file)
        return (yield from keep_checked(owner, wanted, file, draft))


def _pack(folder: Path, file: Path) -> Steps[None]:
    """The files of a folder as a zip, stored as they are."""
    yield PhaseStarted(title=PACKING)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, path in enumerate(paths, start=1):
            archive.write(path, path.relative_to(folder))
            yield Progress(done=number, total=len(paths), unit="files", doing="packing")
