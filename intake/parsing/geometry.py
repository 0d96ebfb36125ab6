"""Images of any shape brought to the one that a network expects."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from core.data import Pixels
from intake.items import Geometry


def fitted(image: Image.Image, geometry: Geometry) -> Pixels:
    """uint8 [C, H, W] of an image in mode L or RGB.

    `crop` keeps the largest middle of the target's proportions, `crop_share` of it, and resizes that at once: what
    Resize followed by CenterCrop of torchvision does, without rounding in between. `pad` adds black borders.
    """
    size, method = (geometry.width, geometry.height), Image.Resampling[geometry.interpolation.upper()]
    plain = image.convert("L" if geometry.channels == 1 else "RGB")
    if geometry.fit == "crop":
        plain = ImageOps.fit(plain, size, method, bleed=(1 - geometry.crop_share) / 2)
    elif geometry.fit == "pad":
        plain = ImageOps.pad(plain, size, method)
    else:
        plain = plain.resize(size, method)
    return channels_first(plain)


def channels_first(image: Image.Image) -> Pixels:
    """uint8 [1, H, W] of an image in mode L, [3, H, W] of one in mode RGB."""
    pixels = np.asarray(image, np.uint8)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
