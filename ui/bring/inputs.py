"""The third section: how an image becomes the network's input, read from the model, shown and editable."""

from __future__ import annotations

import streamlit as st
from pydantic import ValidationError

from core.errors import BadInput
from intake.agreement import normalised, warnings
from intake.items import ImageSet
from intake.preprocessing import Preprocessing
from ui import text

FITS = {
    "crop": "Cut out the middle",
    "squash": "Distort",
    "pad": "Add borders",
}
COLOURS = {"RGB": "RGB", "BGR": "BGR", "gray": "Grayscale"}
SCALE_HELP = (
    "Subtracted from each pixel, for each channel, on the scale 0 to 255. One number, or one a channel with commas."
)
STD_HELP = "What the difference is divided by, likewise."


def set_input(start: Preprocessing, images: ImageSet | None, *, key: str) -> Preprocessing | None:
    """The preprocessing as it is set on screen; None, with the reason, where it cannot be."""
    st.subheader("3 · From an image to the network")
    st.caption(
        f"Source of these: {text.escape(start.source)}. They must be what the network was trained with: a "
        "wrong mean or order of colours costs accuracy, and no error tells. Where the images have labels, the usual "
        "ones are tried as well when the model is added."
    )
    try:
        found = _form(start, key)
    except (BadInput, ValidationError) as error:
        st.error(text.escape(_sentence(error)), icon=":material/block:")
        return None
    if images:
        mean, spread = normalised(found, images)
        st.caption(
            f"Prepared like this, these images have a mean of {mean:.2f} and a spread of {spread:.2f}; most networks "
            "were trained on about 0 and 1."
        )
        for warning in warnings(found, images):
            st.warning(text.escape(warning), icon=":material/warning:")
    return found


def _form(start: Preprocessing, key: str) -> Preprocessing:
    first = st.columns(4)
    colour = first[0].selectbox(
        "Colour", list(COLOURS), list(COLOURS).index(start.colour), format_func=COLOURS.__getitem__,
        key=f"{key}.colour", help="The order of the channels. OpenCV and Caffe read BGR, nearly everything else RGB.",
    )  # fmt: skip
    height = first[1].number_input("Height", 1, 4096, start.height, key=f"{key}.height", help="Pixels.")
    width = first[2].number_input("Width", 1, 4096, start.width, key=f"{key}.width", help="Pixels.")
    interpolation = first[3].selectbox(
        "Resizing", ("nearest", "bilinear", "bicubic", "lanczos"),
        ("nearest", "bilinear", "bicubic", "lanczos").index(start.interpolation),
        key=f"{key}.interpolation", help="How pixels between pixels are computed.",
    )  # fmt: skip
    second = st.columns(4)
    fit = second[0].selectbox(
        "Other shapes", list(FITS), list(FITS).index(start.fit), format_func=FITS.__getitem__, key=f"{key}.fit",
        help="What happens to an image whose sides are in another proportion.",
    )  # fmt: skip
    crop = second[1].number_input(
        "Share kept", 0.1, 1.0, start.crop_share, 0.005, format="%.3f", key=f"{key}.crop", disabled=fit != "crop",
        help="Of the shorter side, when the middle is cut out. ImageNet networks are usually judged on 0.875.",
    )  # fmt: skip
    channels = 1 if colour == "gray" else 3
    mean = second[2].text_input("Mean", _as_text(start.mean, channels), key=f"{key}.mean-{channels}", help=SCALE_HELP)
    std = second[3].text_input("Deviation", _as_text(start.std, channels), key=f"{key}.std-{channels}", help=STD_HELP)
    values = {
        "colour": colour, "height": height, "width": width, "fit": fit, "crop_share": crop,
        "interpolation": interpolation, "mean": _numbers("Mean", mean, channels),
        "std": _numbers("Deviation", std, channels),
    }  # fmt: skip
    edited = any(getattr(start, name) != value for name, value in values.items())
    return Preprocessing.model_validate(values | {"source": "by hand" if edited else start.source})


def _as_text(values: tuple[float, ...], channels: int) -> str:
    kept = values if len(values) == channels else (sum(values) / len(values),) * channels
    return ", ".join(f"{value:g}" for value in (kept[:1] if len(set(kept)) == 1 else kept))


def _numbers(name: str, given: str, channels: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in given.split(","))
    except ValueError:
        raise BadInput(f"{name} is {given!r}", expected="numbers with commas between them") from None
    values = values * channels if len(values) == 1 else values
    if len(values) != channels:
        raise BadInput(f"{name} has {len(values)} numbers", expected=f"one, or {channels}")
    return values


def _sentence(error: BadInput | ValidationError) -> str:
    return str(error) if isinstance(error, BadInput) else "; ".join(each["msg"] for each in error.errors())
