"""Images of a data set as PNG: one, or a few on one sheet."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from core.data import Pixels

GAP = 4
"""Transparent pixels between two images."""


def contact_sheet(pixels: Pixels, *, columns: int, side: int) -> bytes:
    """A PNG of uint8 pixels[N, C, H, W], one or three channels, `columns` a row, each `side` x `side` pixels large.

    Small images are enlarged pixel by pixel, so that what the network sees stays visible.
    """
    rows = -(-len(pixels) // columns)
    pitch = side + GAP
    sheet = Image.new("RGBA", (columns * pitch - GAP, rows * pitch - GAP))
    for index, image in enumerate(pixels):
        sheet.paste(_tile(image, side), (index % columns * pitch, index // columns * pitch))
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def picture(pixels: Pixels, *, side: int) -> bytes:
    """A PNG of one image, uint8 pixels[C, H, W], drawn as `contact_sheet` draws it."""
    content = io.BytesIO()
    _tile(pixels, side).save(content, "PNG", compress_level=1)
    return content.getvalue()


def _tile(image: Pixels, side: int) -> Image.Image:
    channels_last = np.moveaxis(image, 0, -1)
    picture = Image.fromarray(channels_last.squeeze(-1) if channels_last.shape[-1] == 1 else channels_last)
    enlarges = side >= picture.width
    return picture.resize((side, side), Image.Resampling.NEAREST if enlarges else Image.Resampling.LANCZOS)
