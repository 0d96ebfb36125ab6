from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ui.images import contact_sheet, picture


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def noise(channels: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (channels, side, side)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_is_enlarged_pixel_by_pixel(channels: int) -> None:
    pixels = noise(channels, 28)
    shown = opened(picture(pixels, side=28 * 5)).reshape(140, 140, channels)
    assert (shown == np.kron(np.moveaxis(pixels, 0, -1), np.ones((5, 5, 1), np.uint8))).all()


def test_a_photograph_is_scaled_and_keeps_its_mean_colour() -> None:
    pixels = noise(3, 224)
    shown = opened(picture(pixels, side=112))
    assert shown.shape == (112, 112, 3)
    assert shown.mean((0, 1)) == pytest.approx(pixels.mean((1, 2)), abs=1)


def test_a_sheet_has_the_pictures_side_by_side() -> None:
    pixels = np.stack([noise(1, 4), noise(1, 4)[:, ::-1]])
    sheet = opened(contact_sheet(pixels, columns=2, side=4))
    assert sheet.shape == (4, 12, 4)
    assert (sheet[:, :4, 0] == opened(picture(pixels[0], side=4))).all()
    assert (sheet[:, 8:, 0] == opened(picture(pixels[1], side=4))).all()
