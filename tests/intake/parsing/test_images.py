"""Every kind of image becomes 8-bit gray or RGB, upright and without transparency."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from core.errors import Refused
from intake.parsing.images import decoded

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def test_transparency_is_laid_onto_white() -> None:
    alpha = RANDOM.integers(0, 256, (6, 8, 1), np.uint8)
    picture = decoded(saved(Image.fromarray(np.concatenate([RGB, alpha], 2))))
    share = alpha / 255
    assert np.asarray(picture.image) == pytest.approx(RGB * share + 255 * (1 - share), abs=1)
    assert picture.kinds == ("RGBA",)


def test_sixteen_bits_are_scaled_so_that_white_stays_white() -> None:
    deep = RANDOM.integers(0, 65536, (6, 8), np.uint16)
    deep[0, :2] = 0, 65535
    for kind in ("PNG", "TIFF"):
        picture = decoded(saved(Image.fromarray(deep), kind))
        assert picture.image.mode == "L"
        assert np.asarray(picture.image) == pytest.approx(deep / 257, abs=0.5)
        assert set(picture.kinds) == {"grayscale", "16-bit"}


def test_sixteen_bits_in_three_channels_are_noticed() -> None:
    import struct
    import zlib

    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in RGB)
    chunks = [(b"IHDR", struct.pack(">2L5B", 8, 6, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body)) for name, body in chunks
    )
    picture = decoded(png)
    assert picture.kinds == ("16-bit",)
    assert np.array_equal(np.asarray(picture.image), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_images_stand_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(RGB), kind, exif=exif, **options)
    picture = decoded(content)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
    assert np.array_equal(np.asarray(picture.image), np.asarray(upright))
    assert picture.size == upright.size == ((8, 6) if orientation < 5 else (6, 8))
    assert picture.kinds == (("turned",) if orientation > 1 else ())


@pytest.mark.parametrize(
    ("mode", "kinds", "becomes"),
    [
        ("L", ("grayscale",), "L"),
        ("1", ("black and white",), "L"),
        ("LA", ("LA",), "L"),
        ("P", ("palette",), "RGB"),
        ("CMYK", ("CMYK",), "RGB"),
        ("YCbCr", ("YCbCr",), "RGB"),
    ],
)
def test_other_modes_are_converted(mode: str, kinds: tuple[str, ...], becomes: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    picture = decoded(saved(image, "TIFF"))
    assert (picture.kinds, picture.image.mode) == (kinds, becomes)
    if mode != "LA":
        assert np.array_equal(np.asarray(picture.image), np.asarray(image.convert(becomes)))


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(Refused, match="white is not known"):
        decoded(saved(Image.fromarray(RGB[:, :, 0].astype(np.float32)), "TIFF"))


def test_a_draft_has_the_size_of_the_image() -> None:
    large = Image.fromarray(RANDOM.integers(0, 256, (600, 900, 3), np.uint8))
    picture = decoded(saved(large, "JPEG"), draft=100)
    assert picture.size == (900, 600)
    assert picture.image.size[0] < 900
