"""One image file of any kind as plain 8-bit gray or RGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from core.errors import Refused
from intake.limits import LIMITS, MIB
from intake.parsing.archives import size_text
from intake.parsing.untrusted import shown

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The only ones that PIL may try, whatever a file calls itself."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_BYTES = 512 * MIB
"""Of one image file."""
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError,
    EOFError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
"""What PIL raises for damaged images of these formats."""
WORDS = {
    "grayscale": "grayscale",
    "black and white": "black and white; they are converted to 0 and 255",
    "LA": "grayscale with transparency; they are laid onto white",
    "RGBA": "RGBA; they are laid onto white",
    "palette": "drawn from a palette; they are converted to RGB",
    "CMYK": "CMYK; they are converted to RGB",
    "YCbCr": "YCbCr; they are converted to RGB",
    "16-bit": "16-bit; they are scaled to 8 bits",
    "turned": "turned as their EXIF data says",
    "animated": "animated; only the first frame is taken",
}
"""What is said of each kind of image that is counted."""
_KIND_OF_MODE = {
    "1": "black and white", "L": "grayscale", "LA": "LA", "RGBA": "RGBA", "P": "palette", "PA": "palette",
    "CMYK": "CMYK", "YCbCr": "YCbCr", "I": "grayscale", "I;16": "grayscale", "I;16B": "grayscale",
}  # fmt: skip
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; of a TIFF, PIL does it while it loads."""


@dataclass(frozen=True)
class Picture:
    """One image, decoded."""

    image: Image.Image
    """In mode L or RGB."""
    kinds: tuple[str, ...]
    """Keys of `WORDS` for all that is not plain RGB."""
    size: tuple[int, int]
    """Width and height as it is seen, which a draft does not have."""


def decoded(content: bytes, *, draft: int = 0) -> Picture:
    """The image of a file's bytes, turned as its EXIF data says and without transparency.

    With `draft`, a JPEG may be decoded smaller, but not below that many pixels a side. Raises `Refused` with the reason
    alone: broken, too large, or of no kind that is read here.
    """
    if not content:
        raise Refused("empty, 0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decoded(content, draft)
    except Image.DecompressionBombError:
        raise Refused(f"more than {_most_megapixels()}") from None
    except UnidentifiedImageError:
        raise Refused("no PNG, JPEG, WebP, BMP, GIF or TIFF image") from None
    except DECODER_ERRORS as error:
        raise Refused(f"broken ({shown(str(error)) or type(error).__name__})") from None


def check_size(byte_count: int) -> None:
    """Raise `Refused` with the reason for a file that is too large to be one image."""
    if byte_count > MOST_BYTES:
        raise Refused(f"{size_text(byte_count)}, more than {size_text(MOST_BYTES)}")


def without_transparency(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, laid onto white where it is transparent."""
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return image.convert(mode)


def _decoded(content: bytes, draft: int) -> Picture:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        width, height = image.size
        if width * height > LIMITS.image_pixels:
            raise Refused(f"{width:,} x {height:,} pixels, more than {_most_megapixels()}")
        kinds, orientation = _kinds(image), _orientation(image)
        if orientation >= 5 and image.format != "TIFF":
            width, height = height, width
        if draft:
            image.draft(None, (draft, draft))
        image.load()
        plain = _eight_bits(image) if image.mode.startswith(("I", "F")) else without_transparency(image)
        turn = _TURNS.get(_orientation(image)) if image.format != "TIFF" else None
    plain = plain if turn is None else plain.transpose(turn)
    return Picture(plain, kinds, (width, height))


def _kinds(image: Image.Image) -> tuple[str, ...]:
    """Of an image that is not decoded yet: afterwards some plugins have forgotten."""
    kind = _KIND_OF_MODE.get(image.mode)
    deep = image.mode.startswith("I") or any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    found = (
        kind or "",
        "16-bit" if deep else "",
        "turned" if _orientation(image) in _TURNS else "",
        "animated" if image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False) else "",
    )
    return tuple(each for each in found if each)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1
    return value if value in _TURNS else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of 16 bits on the scale 0-255; 65,535 is white."""
    if image.mode.startswith("F"):
        raise Refused("floating-point pixels, whose white is not known")
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise Refused("pixels of 32 bits, whose white is not known")
    return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))


def _most_megapixels() -> str:
    return f"{LIMITS.image_pixels / 1e6:,.0f} megapixels"
