"""Images are brought to a network's shape as torchvision's evaluation transforms do it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image, ImageFilter

from core.data import Interpolation
from intake.items import Geometry
from intake.parsing.geometry import fitted
from sample_models.datasets import PHOTOS, labelled_photos

PHOTO = sorted(PHOTOS.glob("*.webp"))[0]


def photo() -> Image.Image:
    with Image.open(PHOTO) as image:
        return image.convert("RGB")


def test_the_studios_own_photographs_are_prepared_the_same_way() -> None:
    entries = [each for each in json.loads((PHOTOS / "manifest.json").read_text()) if each["imagenet"]]
    for pixels, entry in zip(labelled_photos(3).pixels, entries[:3], strict=True):
        with Image.open(Path(PHOTOS / entry["file"])) as image:
            assert np.array_equal(fitted(image, Geometry(channels=3, height=224, width=224)), pixels)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("share", [0.875, 0.95, 1.0])
def test_cropping_is_torchvisions_up_to_where_it_rounds(share: float, interpolation: Interpolation) -> None:
    """Both round the size and the corner of the cut to whole pixels: on a ramp that is at most a pixel of offset."""
    from torchvision import transforms

    width, height = 640, 427
    ramp = np.add.outer(np.linspace(0, 100, height), np.linspace(0, 150, width)).round().astype(np.uint8)
    image = Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], 2))
    geometry = Geometry(channels=3, height=224, width=224, crop_share=share, interpolation=interpolation)
    steps = [
        transforms.Resize(int(224 / share), transforms.InterpolationMode(interpolation)),
        transforms.CenterCrop(224),
    ]
    theirs = np.asarray(transforms.Compose(steps)(image)).transpose(2, 0, 1).astype(float)
    ours = fitted(image, geometry).astype(float)
    pixel = 150 / (width * 224 / share / height) + 100 / (224 / share)
    assert np.abs(ours - theirs).max() < pixel + 1
    blurred = photo().filter(ImageFilter.GaussianBlur(6))
    theirs = np.asarray(transforms.Compose(steps)(blurred)).transpose(2, 0, 1).astype(float)
    assert np.abs(fitted(blurred, geometry) - theirs).mean() < 2


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
def test_squashing_is_torchvisions_resize(interpolation: Interpolation) -> None:
    from torchvision import transforms

    geometry = Geometry(channels=3, height=96, width=64, fit="squash", interpolation=interpolation)
    theirs = transforms.Resize((96, 64), transforms.InterpolationMode(interpolation))(photo())
    assert np.array_equal(fitted(photo(), geometry), np.asarray(theirs).transpose(2, 0, 1))


def test_padding_keeps_the_whole_image_between_black_borders() -> None:
    white = Image.new("RGB", (40, 20), "white")
    pixels = fitted(white, Geometry(channels=3, height=64, width=64, fit="pad"))
    assert pixels.shape == (3, 64, 64)
    assert (pixels[:, 16:48] == 255).all()
    assert pixels[:, :16].max() == pixels[:, 48:].max() == 0


def test_gray_is_repeated_and_colour_weighed() -> None:
    gray = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    colour = fitted(gray, Geometry(channels=3, height=8, width=8))
    assert np.array_equal(colour, np.repeat(np.asarray(gray)[None], 3, 0))
    back = fitted(photo().resize((8, 8)), Geometry(channels=1, height=8, width=8))
    weights = np.asarray(photo().resize((8, 8)), float) @ [0.299, 0.587, 0.114]
    assert back[0] == pytest.approx(weights, abs=1)
