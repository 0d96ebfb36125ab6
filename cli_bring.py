"""`studio.py bring`: models of the machine's owner, from a file that names them or from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from core.errors import BadInput
from core.progress import Event, Steps
from experiments.declared import FILE, Declared, bring, read, validated
from intake.library import own_model

EPILOG = (
    f"Without options, the models of {FILE} in the current folder are added. Relative paths in a file begin at its own "
    "folder."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = EPILOG
    parser.add_argument("file", nargs="?", type=Path, help=f"a {FILE} that names models")
    parser.add_argument("--model", metavar="PACKAGE.MODULE:FUNCTION", help="a function that returns a torch module")
    parser.add_argument("--architecture", metavar="LIBRARY/NAME", help="such as torchvision/resnet18")
    parser.add_argument("--weights", help="a .safetensors or .pt with the architecture's state_dict")
    parser.add_argument("--onnx", help="an ONNX file")
    parser.add_argument("--keras", help="a .keras or .h5 file, or a SavedModel as a zip or a folder")
    parser.add_argument("--tflite", help="a .tflite file")
    parser.add_argument("--text", help="a Hugging Face folder with a sequence classifier")
    parser.add_argument("--data", help="a folder or zip of class folders, an npz, or a CSV of texts")
    parser.add_argument("--title", default="", help="how it is called in lists")
    parser.add_argument("--classes", type=int, help="numbers that the network answers with")
    parser.add_argument("--train", type=float, default=0.0, help="share of the data to train on (default: 0)")
    parser.add_argument("--calibrate", type=float, default=0.2, help="share to calibrate on (default: 0.2)")
    parser.add_argument("--match", default="", help="names, order or background: which class is which")
    parser.add_argument("--length", type=int, help="tokens of a text")
    parser.add_argument(
        "--input",
        default="",
        help="what differs from the input that the model tells of, as YAML, one mean and std a channel on the scale "
        '0-255: "{height: 28, width: 28, colour: gray, mean: [72.9], std: [90.0]}"',
    )


def declared_by(options: argparse.Namespace) -> tuple[tuple[Declared, ...], Path]:
    """The models that the options name, and the folder that their paths begin at. Raises `BadInput`."""
    given = {
        "architecture": options.architecture, "weights": options.weights, "onnx": options.onnx, "keras": options.keras,
        "tflite": options.tflite, "text": options.text, "factory": options.model, "data": options.data,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value}
    if not given:
        file = (options.file or Path(FILE)).resolve()
        return read(file), file.parent
    others = {name: getattr(options, name) for name in ("title", "classes", "train", "calibrate", "match", "length")}
    entry = given | others | {"input": _input(options.input)}
    return (validated(entry, "The command line"),), Path.cwd()


def _input(text: str) -> dict[str, Any]:
    try:
        given = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise BadInput(f"--input is not YAML: {error}") from None
    if not isinstance(given, dict):
        raise BadInput(f"--input is {text}", expected="fields and values, such as {height: 28, width: 28}")
    return given


def bring_all(options: argparse.Namespace, show: Callable[[Event], None]) -> int:
    """Add the models, one after the other, and print what each is."""
    models, folder = declared_by(options)
    for declared in models:
        print(f"\n{declared.name()}")
        key = _watched(bring(declared, folder), show)
        print(f"\n{told(key)}")
    return 0


def _watched(steps: Steps[str], show: Callable[[Event], None]) -> str:
    while True:
        try:
            show(next(steps))
        except StopIteration as stop:
            return str(stop.value)


def told(key: str) -> str:
    """What was added, and what there is to know about it, a line each."""
    model = own_model(key)
    assert model, "it was added a moment ago"
    counts = ", ".join(f"{count:,} to {name}" for name, count in model.counts.items() if name != "test")
    lines = [f"{key}: {model.title}, {len(model.labels):,} classes, {model.counts['test']:,} to judge by, {counts}"]
    if model.metric == "accuracy":
        lines.append(f"  {model.correct:,} of {model.judged:,} test examples right")
    lines += [f"  {note}" for note in model.notes]
    lines += [f"  ! {reason}" for reason in (*model.warnings, *model.refusals.values())]
    return "\n".join(lines)
