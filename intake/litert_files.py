"""A Keras model or a `.tflite` file becomes a model's own."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from bridges.keras.form import described
from core.errors import BadInput
from core.progress import Steps
from intake.architectures import names_of_classes
from intake.items import KERAS_FILE, TFLITE_FILE, KerasFile, TfliteFile
from intake.preprocessing import Preprocessing, in_rgb_order, of_keras, of_tflite
from intake.sources import Described

_BEFORE = ("InputLayer", "ZeroPadding2D")
_WAY_OUT = "Set the colour to RGB, or bring a network that takes its channels in that order"
_KERNEL_AXES = 4


def described_file(file: KerasFile | TfliteFile) -> Described:
    """What a Keras model or a `.tflite` file says of itself."""
    wanted = of_keras(file) if isinstance(file, KerasFile) else of_tflite(file)
    own = file.labels if isinstance(file, TfliteFile) else ()
    return Described(classes=file.classes, labels=own or names_of_classes(file.classes), input=wanted)


def adopt_file(found: KerasFile | TfliteFile, folder: Path, wanted: Preprocessing, draft: Path) -> Steps[Described]:
    """Copy the files of the item in `folder` into the draft; what it is then.

    The first convolution of a Keras model is turned round where its images are in BGR, and the model converted again;
    so are the mean and std that its own layers had.
    Raises `BadInput` for an input that the network does not take, and for a network that cannot be turned round.
    """
    _require_fit(found, wanted)
    for name in (KERAS_FILE, TFLITE_FILE) if isinstance(found, KerasFile) else (TFLITE_FILE,):
        shutil.copyfile(folder / name, draft / name)
    if wanted.colour == "BGR":
        if not isinstance(found, KerasFile):
            raise _not_turned("its first layer may be rounded already")
        (draft / KERAS_FILE).write_bytes(turned_round((folder / KERAS_FILE).read_bytes()))
        files = {"model": str(draft / KERAS_FILE), "out": str(draft / TFLITE_FILE)}
        yield from ask(TENSORFLOW, "bridges.keras.converting:convert", files)
        wanted = in_rgb_order(found, wanted)
    return described_file(found).model_copy(update={"input": wanted, "notes": found.notes})


def turned_round(content: bytes) -> bytes:
    """The network with its images in RGB, where it had them in BGR: the kernel of its first layer is turned round.

    Raises `BadInput` where another layer than a plain convolution comes first.
    """
    network = described(content)
    layers = list(network.config["layers"])
    kinds = [layer["class_name"] for layer in layers]
    first = next((kind for kind in kinds if kind not in _BEFORE), "")
    kernel = network.weights[0] if network.weights else np.empty(0)
    start = json.dumps(layers[0]["config"].get("name"))
    readers = sum(json.dumps(layer.get("inbound_nodes", [])).count(start) for layer in layers[1:])
    if first != "Conv2D" or kernel.ndim != _KERNEL_AXES or kernel.shape[2] != 3 or readers > 1:
        raise _not_turned(f"its first layer is {first or 'unknown'}, or several read the image")
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    file = BytesIO()
    np.savez(file, **(kept | {"w0": np.ascontiguousarray(kernel[:, :, ::-1])}))
    return file.getvalue()


def _not_turned(why: str) -> BadInput:
    return BadInput(f"The network cannot be turned round from BGR: {why}", expected="a convolution", action=_WAY_OUT)


def _require_fit(found: KerasFile | TfliteFile, wanted: Preprocessing) -> None:
    for name, has, asked in (
        ("channels", found.channels, wanted.channels),
        ("pixels in height", found.height, wanted.height),
        ("pixels in width", found.width, wanted.width),
    ):
        if has != asked:
            raise BadInput(
                f"The input is set to {asked} {name}", expected=f"{has}, as the file has it", action="Set it so"
            )
