"""What became of an uploaded file: plain facts, and files of ours beside them.

An item lies in a folder of its own, `item.json` with the facts and the file that was written anew.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, TypeAdapter, model_validator

from core.data import Fit, Interpolation
from intake.index import SplitName
from intake.limits import LIMITS

WEIGHTS_FILE, GRAPH_FILE, THUMBNAILS_FILE, DATA_FILE = "weights.safetensors", "model.onnx", "thumbnails.npz", "data"
KERAS_FILE, TFLITE_FILE = "keras.npz", "model.tflite"
THUMBNAIL, MOST_THUMBNAILS = 96, 60
"""Side in pixels, and how many."""
LISTED = 100
"""Of the images that cannot be read, how many are listed."""
_Line = Annotated[str, Field(max_length=2_000)]
_Lines = Annotated[tuple[_Line, ...], Field(max_length=200)]


class _Item(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    """Of the file as it was uploaded; shown as text only."""
    size_bytes: int
    """Of the uploaded file."""
    notes: _Lines = ()
    """What was done to it or noticed on the way, a sentence each."""
    warnings: _Lines = ()


class TensorFacts(BaseModel):
    """Of one tensor of a state_dict, as it was written anew."""

    model_config = ConfigDict(frozen=True)

    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it: F32, F16, BF16, I64."""


class Weights(_Item):
    """A state_dict, written anew as `WEIGHTS_FILE`."""

    kind: Literal["weights"] = "weights"
    tensors: Annotated[dict[str, TensorFacts], Field(max_length=LIMITS.tensors)]
    metadata: dict[str, str] = {}
    """Free text that the file carried."""


class GraphInput(BaseModel):
    """How the network of an ONNX file wants its images; None where the file does not say."""

    model_config = ConfigDict(frozen=True)

    channels: int | None
    height: int | None
    width: int | None
    layout: Literal["NCHW", "NHWC"]
    dtype: str
    """As ONNX calls it: float32, uint8."""
    fixed_batch: int | None = None


class Graph(_Item):
    """An ONNX model, written anew as `GRAPH_FILE`: checked, in one file, for any batch size.

    It maps float32 `input`[batch, C, H, W] (RGB, or one channel) to float32 `logits`[batch, classes], whatever layout,
    type and names the original had; `input` says what they were.
    """

    kind: Literal["graph"] = "graph"
    input: GraphInput
    classes: Annotated[int, Field(ge=2, le=LIMITS.classes)]
    outputs: tuple[str, ...]
    """Names of all outputs of the original that may be the answer; `logits` is the first of them."""
    opset: int
    producer: str
    nodes: NonNegativeInt
    parameter_count: NonNegativeInt
    macs: NonNegativeInt
    operators: dict[str, NonNegativeInt]
    """How many nodes of each kind."""
    quantized: bool = False
    """Whether it has layers in 8 bits already."""
    normalises: bool = False
    """Whether its first steps shift or scale the pixels themselves."""
    metadata: dict[str, str] = {}


class KerasFile(_Item):
    """A Keras model, built anew and written as `KERAS_FILE`, with its float32 conversion as `TFLITE_FILE`.

    It maps float32 x[N, H, W, C] to logits[N, classes].
    """

    kind: Literal["keras"] = "keras"
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3]
    classes: Annotated[int, Field(ge=2, le=LIMITS.classes)]
    layers: NonNegativeInt
    parameter_count: NonNegativeInt
    """Statistics of normalisation included."""
    macs: NonNegativeInt = 0
    api: Literal["tf_keras", "keras"]
    """Keras 2, on which TensorFlow's optimisation toolkit works, or Keras 3."""
    saved_as: _Line
    """`Keras 3.12.0`, as the file said."""
    normalises: bool = False
    """Whether its first layer shifts or scales the pixels itself."""
    mean: Annotated[tuple[FiniteFloat, ...], Field(max_length=3)] = ()
    """Per channel, what its first layers took off the pixels; empty where none of them did only that."""
    std: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], Field(max_length=3)] = ()
    """Per channel, what they then divided by."""
    eligibility: Annotated[dict[_Line, _Line], Field(max_length=50)] = {}
    """For each technique of TensorFlow, empty or why it does not work on this network."""


class TfliteFile(_Item):
    """A `.tflite` file, checked and packed anew as `TFLITE_FILE`: one image in, the scores of its classes out."""

    kind: Literal["tflite"] = "tflite"
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3]
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8", "int8"]
    """Of its input."""
    scale: FiniteFloat = 1.0
    """Of an input in 8 bits: what its step stands for."""
    zero_point: int = 0
    """Of an input in 8 bits: which number stands for 0."""
    classes: Annotated[int, Field(ge=2, le=LIMITS.classes)]
    labels: Annotated[tuple[_Line, ...], Field(max_length=LIMITS.classes)] = ()
    """A name for each class, where its metadata give them."""
    mean: Annotated[tuple[FiniteFloat, ...], Field(max_length=3)] = ()
    """Per channel, on the scale 0-255, as its metadata have it; empty where they say nothing."""
    std: Annotated[tuple[Annotated[FiniteFloat, Field(gt=0)], ...], Field(max_length=3)] = ()
    largest_batch: NonNegativeInt = 0
    """Images that it takes at once; 0 for any number."""
    operators: Annotated[dict[_Line, NonNegativeInt], Field(max_length=200)]
    """How many there are of each kind."""
    parameter_count: NonNegativeInt
    macs: NonNegativeInt
    quantized: bool = False
    """Whether it has layers in 8 bits already."""
    answers: Literal["logits", "probabilities"] = "logits"

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """What its metadata say is of as many classes and channels as it has."""
        if len(self.labels) not in (0, self.classes) or any(
            len(each) not in (0, self.channels) for each in (self.mean, self.std)
        ):
            raise ValueError("The metadata speak of another number of classes or channels")
        return self


class SkippedImage(BaseModel):
    """One that cannot be read."""

    model_config = ConfigDict(frozen=True)

    name: _Line
    reason: _Line


class ImageSet(_Item):
    """Images, kept as they came as `DATA_FILE`; the sandbox reads them again once it is known for which input."""

    kind: Literal["images"] = "images"
    form: Literal["folders", "arrays", "table", "plain"]
    """A zip of class folders, `x` and `y` of an npz, a table of paths and labels, or a zip of images without labels."""
    classes: Annotated[tuple[_Line, ...], Field(max_length=LIMITS.images)]
    """Names in the order of their numbers; empty without labels."""
    counts: dict[SplitName, NonNegativeInt]
    """Images that can be read, by split (`train`, `calibrate`, `test`; `all` where the file has none)."""
    per_class: tuple[NonNegativeInt, ...]
    """As many as there are classes."""
    conversions: Annotated[dict[_Line, NonNegativeInt], Field(max_length=LISTED)]
    """How many images of each other kind there are: `grayscale`, `RGBA`, `palette`, `CMYK`, `16-bit`, `turned`..."""
    skipped: Annotated[tuple[SkippedImage, ...], Field(max_length=LISTED)] = ()
    """The first hundred of them; `skipped_count` tells how many."""
    skipped_count: NonNegativeInt = 0
    channels: Literal[1, 3]
    """3 where any image has colour."""
    sides: tuple[int, int, int, int]
    """Smallest and largest height, smallest and largest width."""
    mean: tuple[FiniteFloat, ...]
    """Per channel, on the scale 0-255, of a thousand images evenly spread over the set."""
    std: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        """All figures speak of the same images."""
        if len(self.per_class) != len(self.classes) or (self.classes and sum(self.per_class) != self.images):
            raise ValueError("The classes and their counts do not agree")
        if not 1 <= self.images <= LIMITS.images or not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("The counts and figures of the images do not agree")
        if any(not 1 <= low <= high for low, high in (self.sides[:2], self.sides[2:])):
            raise ValueError("The sides of the images make no sense")
        return self

    @property
    def images(self) -> int:
        """That can be read."""
        return sum(self.counts.values())


Item: TypeAlias = Weights | Graph | KerasFile | TfliteFile | ImageSet
_ITEM: TypeAdapter[Item] = TypeAdapter(Annotated[Item, Field(discriminator="kind")])


def parse_item(content: bytes | str) -> Item:
    """The item whose JSON that is. Raises pydantic's `ValidationError`."""
    return _ITEM.validate_json(content)


class Geometry(BaseModel):
    """To which arrays a data set's images are brought."""

    model_config = ConfigDict(frozen=True)

    channels: Literal[1, 3]
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    fit: Fit = "crop"
    crop_share: float = Field(1.0, gt=0, le=1)
    interpolation: Interpolation = "bicubic"
