"""A place to drop files of any size, with their limits before and their progress while they are sent."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from intake import sandbox
from intake.limits import LIMITS, quota_bytes
from intake.uploads import Wanted, kept_bytes, limit_bytes, size_in_words
from ui.identity import owner
from ui.uploads import ADDRESS

HERE = Path(__file__).resolve().parent
WHAT: dict[Wanted, str] = {"model": "Drop a trained model here", "data": "Drop images here"}
KINDS: dict[Wanted, str] = {
    "model": "Weights as .safetensors or as a .pt state_dict; a network as .onnx, .keras, .h5, .tflite or a zip of a "
    "SavedModel",
    "data": "A zip of class folders, an .npz with x and y, or a zip with a CSV of path,label",
}

_box = st.components.v2.component(
    "upload_box",
    html=(HERE / "upload_box.html").read_text(),
    css=(HERE / "upload_box.css").read_text(),
    js=(HERE / "upload_box.js").read_text(),
)


def upload_box(wanted: Wanted, key: str) -> str | None:
    """Draw the box; the id of the job that reads a file, once, when the file has just come."""
    answer = _box(
        key=key,
        data={
            "key": key,
            "wanted": wanted,
            "address": ADDRESS,
            "what": WHAT[wanted],
            "limits": limits_in_words(wanted),
            "off": why_off(),
        },
        on_job_change=lambda: None,
    )
    return str(answer["job"]) if answer.get("job") else None


def why_off() -> str:
    """Why nothing can be uploaded, in one sentence; empty where files can come."""
    reason = sandbox.why_unavailable()
    return f"Uploads are off: {reason}" if reason else ""


def limits_in_words(wanted: Wanted) -> str:
    """What is taken, how large it may be, and how much room is left."""
    most = f"up to {size_in_words(limit_bytes(wanted))}"
    if wanted == "data":
        most += f" and {LIMITS.images:,} images"
    room = max(0, quota_bytes() - kept_bytes(owner()))
    return f"{KINDS[wanted]}; {most}. {size_in_words(room)} of your {size_in_words(quota_bytes())} are free."
