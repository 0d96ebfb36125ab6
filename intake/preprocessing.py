"""How pixels become a network's input: read from what the model says of itself, shown, and edited."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.data import Fit, InputContract, Interpolation
from intake.items import Geometry, Graph, KerasFile, TfliteFile

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""On the scale 0-255: torchvision's (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225)."""

_USUAL: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "pixels as they are": ((0.0,), (1.0,)),
    "pixels / 255": ((0.0,), (255.0,)),
    "pixels / 127.5 - 1": ((127.5,), (127.5,)),
    "ImageNet's mean and deviation": (IMAGENET_MEAN, IMAGENET_STD),
}
_CAFFE = "BGR less ImageNet's mean"
"""What `keras.applications` does for VGG and ResNet, whose weights are from Caffe."""
_LEAST = {"uint8": 0, "int8": -128}
_BEYOND = 8
"""Numbers of 8 bits by which a pixel may miss the range of an input, and be held at its end."""
Colour = Literal["gray", "RGB", "BGR"]


class Preprocessing(BaseModel):
    """From an image to float32 x[C, H, W] = (pixels - mean) / std."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: Colour = "RGB"
    """The order in which the network expects the channels. Images are kept as RGB; what expects BGR is given a first
    step of its own that turns them round."""
    height: int = Field(224, ge=1, le=4096)
    width: int = Field(224, ge=1, le=4096)
    fit: Fit = "crop"
    crop_share: float = Field(1.0, gt=0, le=1)
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Per channel in RGB order, on the scale 0-255."""
    std: tuple[float, ...] = IMAGENET_STD
    source: str = "usual for ImageNet"
    """Where these come from, for the person who checks them."""

    @model_validator(mode="after")
    def _one_number_a_channel(self) -> Preprocessing:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"mean and std need {self.channels} numbers for {self.colour} images")
        if any(each <= 0 for each in self.std):
            raise ValueError("std has to be above 0")
        return self

    @property
    def channels(self) -> Literal[1, 3]:
        """Of the network's input."""
        return 1 if self.colour == "gray" else 3

    @property
    def scale(self) -> str:
        """What becomes of a pixel, as the fields on screen have it: `mean 0, deviation 255`."""
        mean, std = (", ".join(f"{value:g}" for value in _merged(values)) for values in (self.mean, self.std))
        return f"mean {mean}, deviation {std}"

    @property
    def summary(self) -> str:
        """In a few words: `224 x 224 RGB, middle 88 %, (pixels - 127) / 128`."""
        mean, std = (", ".join(dict.fromkeys(f"{value:g}" for value in values)) for values in (self.mean, self.std))
        how = {"crop": f"middle {100 * self.crop_share:.3g} %", "squash": "distorted", "pad": "with borders"}[self.fit]
        return f"{self.width} x {self.height} {self.colour}, {how}, (pixels - {mean}) / {std}; {self.source}"

    @property
    def geometry(self) -> Geometry:
        """The arrays that images become, before they are normalised."""
        return Geometry(
            channels=self.channels,
            height=self.height,
            width=self.width,
            fit=self.fit,
            crop_share=self.crop_share,
            interpolation=self.interpolation,
        )

    def contract(self, labels: tuple[str, ...]) -> InputContract:
        """The same as the input contract of a bundle."""
        return InputContract(
            self.channels, self.height, self.width, self.mean, self.std, labels,
            self.fit, self.crop_share, self.interpolation,
        )  # fmt: skip


def usual_ones(chosen: Preprocessing, *, turns: bool) -> dict[str, Preprocessing]:
    """The preparation that was chosen, which comes first, and the usual ones beside it, by what they do in words.

    They differ in what becomes of a pixel alone. One is in BGR, if the network can be turned round (`turns`).
    """
    found = {
        words: chosen.model_copy(update={"mean": _widened(mean, chosen), "std": _widened(std, chosen)})
        for words, (mean, std) in _USUAL.items()
        if len(mean) in (1, chosen.channels)
    }
    if turns and chosen.channels == 3:
        found[_CAFFE] = chosen.model_copy(update={"colour": "BGR", "mean": IMAGENET_MEAN, "std": (1.0,) * 3})
    others = {words: each for words, each in found.items() if not _do_the_same(each, chosen)}
    own = next((words for words in found if words not in others), chosen.scale)
    return {own: chosen} | others


def _widened(values: tuple[float, ...], wanted: Preprocessing) -> tuple[float, ...]:
    return values * (wanted.channels // len(values))


def _merged(values: tuple[float, ...]) -> tuple[float, ...]:
    return values[:1] if len(set(values)) == 1 else values


def _do_the_same(one: Preprocessing, other: Preprocessing) -> bool:
    scales = _are_the_same(one.mean, other.mean) and _are_the_same(one.std, other.std)
    return one.colour == other.colour and scales


def of_graph(graph: Graph) -> Preprocessing:
    """What an ONNX file says of its input and, where it says nothing, what is usual."""
    wanted = graph.input
    colour: Colour = "gray" if wanted.channels == 1 else "RGB"
    channels = 1 if colour == "gray" else 3
    said = _numbers_of(graph, "mean", channels), _numbers_of(graph, "std", channels)
    if all(said):
        (mean, std), source = said, "from the file's metadata"
    elif wanted.dtype == "uint8" or graph.normalises:
        mean, std, source = (0.0,) * channels, (1.0,) * channels, "as for networks that take pixels as they are"
    elif channels == 1:
        mean, std, source = (127.5,), (127.5,), "as usual for grayscale: the file does not say"
    else:
        mean, std, source = IMAGENET_MEAN, IMAGENET_STD, "as usual for ImageNet: the file does not say"
    size = wanted.height or 224, wanted.width or 224
    return Preprocessing(colour=colour, height=size[0], width=size[1], mean=mean, std=std, source=source)


def of_keras(model: KerasFile) -> Preprocessing:
    """What is usual for a network of Keras, which does not say how its images are prepared unless it does so itself."""
    if len(model.mean) == len(model.std) == model.channels:
        return _of_size(model, (0.0, 1.0), "as its own first layers had it").model_copy(
            update={"mean": model.mean, "std": model.std}
        )
    if model.normalises:
        scale, source = (0.0, 1.0), "its first layer scales the pixels itself"
    else:
        scale, source = (127.5, 127.5), "as usual for Keras: the file does not say"
    return _of_size(model, scale, source)


def in_rgb_order(model: KerasFile, wanted: Preprocessing) -> Preprocessing:
    """The same, for images in RGB: where the network is in BGR, what its own layers did has blue's numbers first.

    Mean and std that somebody set otherwise are in RGB order already.
    """
    if wanted.colour != "BGR":
        return wanted
    named = (("mean", model.mean, wanted.mean), ("std", model.std, wanted.std))
    return wanted.model_copy(update={name: now[::-1] for name, own, now in named if _are_the_same(own, now)})


def _are_the_same(own: tuple[float, ...], now: tuple[float, ...]) -> bool:
    """As they are shown, with six digits."""
    return [f"{value:g}" for value in own] == [f"{value:g}" for value in now]


def of_tflite(model: TfliteFile) -> Preprocessing:
    """What a `.tflite` file says of its input: its metadata first, then the steps of an input of 8 bits.

    Metadata say what a pixel becomes, (pixel - mean) / std, and scale and zero point of an input of 8 bits which of its
    numbers stands for that. Where the two do not fit each other, pixels pass as they are.
    """
    is_float = model.dtype == "float32"
    if model.mean and model.std and (is_float or _fits_grid(model)):
        wanted = _of_size(model, (0.0, 1.0), "from the file's metadata")
        return wanted.model_copy(update={"mean": model.mean, "std": model.std})
    if is_float:
        return _of_size(model, (127.5, 127.5), "as usual for .tflite files: this one does not say")
    mean, doubt = float(model.zero_point - _LEAST[model.dtype]), " (its metadata say otherwise)" if model.mean else ""
    return _of_size(model, (mean, 1 / model.scale), f"from the scale of its input: pixels pass as they are{doubt}")


def _fits_grid(model: TfliteFile) -> bool:
    """Whether what pixels become lies within an input of 8 bits, and takes up a quarter of it or more."""
    ends = [
        [(pixel - mean) / std / model.scale + model.zero_point - _LEAST[model.dtype] for pixel in (0, 255)]
        for mean, std in zip(model.mean, model.std, strict=True)
    ]
    return all(low >= -_BEYOND and high <= 255 + _BEYOND and high - low >= 255 / 4 for low, high in ends)


def _of_size(model: KerasFile | TfliteFile, scale: tuple[float, float], source: str) -> Preprocessing:
    mean, std = ((value,) * model.channels for value in scale)
    return Preprocessing(
        colour="gray" if model.channels == 1 else "RGB",
        height=model.height,
        width=model.width,
        mean=mean,
        std=std,
        source=source,
    )


def _numbers_of(graph: Graph, name: str, channels: int) -> tuple[float, ...]:
    """The numbers of that name in the file's metadata, on the scale 0-255; empty where there are none that fit.

    What is at most 1 everywhere was meant for pixels between 0 and 1.
    """
    given = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", graph.metadata.get(name, ""))
    values = tuple(map(float, given)) * (channels if len(given) == 1 else 1)
    if len(values) != channels or (name == "std" and min(values) <= 0):
        return ()
    return tuple(255 * value for value in values) if max(values) <= 1 else values
