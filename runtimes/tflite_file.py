"""The `.tflite` file of a bundle, which LiteRT and OpenVINO open."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from core.bundle import Form, ModelBundle
from core.tflite_file import tflite_of
from runtimes.runtime import NO_AIDS, Aids

if TYPE_CHECKING:
    from core.progress import Steps

FILE = "model.tflite"
TFLITE_FORMS: tuple[Form, ...] = ("keras", "tflite")
"""What has such a file already."""


def write_tflite(bundle: ModelBundle, folder: Path, aids: Aids = NO_AIDS) -> str:
    """Writes `model.tflite`: as it is, of Keras as it was converted, of PyTorch by LiteRT Torch; the file's name."""
    (folder / FILE).write_bytes(_content(bundle, aids))
    return FILE


def _content(bundle: ModelBundle, aids: Aids) -> bytes:
    if content := tflite_of(bundle.network):
        return content
    from bridges import torch_to_tflite

    with tempfile.TemporaryDirectory() as scratch:
        return _told(torch_to_tflite.tflite_of(bundle, Path(scratch)), aids)


def _told(steps: Steps[bytes], aids: Aids) -> bytes:
    """What the steps return; their events are reported."""
    while True:
        try:
            aids.report(next(steps))
        except StopIteration as stop:
            content: bytes = stop.value
            return content
