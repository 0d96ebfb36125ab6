"""Where a model's network comes from, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from intake.preprocessing import Preprocessing

Library = Literal["torchvision", "timm"]
ITEM = "[0-9a-f]{12}"
"""What the ids of items look like: each is the name of a folder."""


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(_Source):
    """One that torchvision or timm knows by name."""

    kind: Literal["architecture"] = "architecture"
    library: Library
    name: str = Field(max_length=120)
    classes: int = Field(1000, ge=2, le=100_000)
    weights: str = Field("", pattern=f"^({ITEM})?$")
    """Id of the item with its weights; empty for those that its library downloads."""


class OnnxFile(_Source):
    """An ONNX file that was uploaded."""

    kind: Literal["onnx"] = "onnx"
    item: str = Field(pattern=f"^{ITEM}$")


class KerasSource(_Source):
    """A Keras model that was uploaded."""

    kind: Literal["keras"] = "keras"
    item: str = Field(pattern=f"^{ITEM}$")


class TfliteSource(_Source):
    """A `.tflite` file that was uploaded."""

    kind: Literal["tflite"] = "tflite"
    item: str = Field(pattern=f"^{ITEM}$")


class Factory(_Source):
    """A function of the machine's owner that returns a trained torch module. Never named in the browser."""

    kind: Literal["factory"] = "factory"
    target: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`package.module:function`."""
    path: Path
    """Folder that the package is imported from."""


class TextFolder(_Source):
    """A folder of the machine's owner with a Hugging Face sequence classifier and its tokenizer."""

    kind: Literal["text"] = "text"
    path: Path


Source: TypeAlias = Annotated[
    Architecture | OnnxFile | KerasSource | TfliteSource | Factory | TextFolder, Field(discriminator="kind")
]


class Described(BaseModel):
    """What a source says of itself, before it is added."""

    model_config = ConfigDict(frozen=True)

    classes: int
    """Of the weights: where they are not as many as the source asks for, these are offered."""
    labels: tuple[str, ...] = ()
    """Names of its classes, where they are known."""
    input: Preprocessing
    notes: tuple[str, ...] = ()
