"""Reads a Keras model: in the sandbox with TensorFlow's Python; what was written anew there is tried outside of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridges.asking import ask
from bridges.environments import TENSORFLOW
from bridges.keras.form import described
from core.errors import BadInput, Refused
from core.progress import Steps
from core.tflite_macs import macs_of_file
from intake import sandbox
from intake.items import KERAS_FILE, TFLITE_FILE
from intake.parsing.keras import CONVERTED
from intake.sandbox.verdicts import nonsense

_RAW = "converted.tflite"


def read_keras(file: Path, draft: Path, name: str) -> Steps[dict[str, Any]]:
    """The facts of a `KerasFile`, or of a `TfliteFile` where the file does not say of which layers it is made.

    Its files are written into `draft`. Raises `Refused`, and what TensorFlow says of a network that it cannot convert.
    """
    if reason := TENSORFLOW.why_missing:
        raise Refused("A model of Keras or TensorFlow, which only TensorFlow reads", action=reason)
    found = yield from sandbox.parse("keras", file, draft, {"name": name})
    if found.get("kind") == CONVERTED:
        return (yield from _read_again(draft, name, found))
    content = _checked(draft / KERAS_FILE)
    yield from ask(TENSORFLOW, "bridges.keras.converting:convert", {"model": content, "out": str(draft / TFLITE_FILE)})
    told = yield from ask(TENSORFLOW, "bridges.keras.eligibility:table", {"model": content})
    return found | {"eligibility": told["eligibility"], "macs": macs_of_file((draft / TFLITE_FILE).read_bytes())}


def _checked(path: Path) -> str:
    """The file's path, once it is known to hold what `bridges.keras.form` writes and nothing else."""
    try:
        described(path.read_bytes())
    except (OSError, BadInput):
        raise nonsense() from None
    return str(path)


def _read_again(draft: Path, name: str, found: dict[str, Any]) -> Steps[dict[str, Any]]:
    """What the reader of `.tflite` files says of the one that the sandbox left, which nobody has checked."""
    raw = draft.with_name(f"{draft.name}-{_RAW}")
    try:
        (draft / TFLITE_FILE).rename(raw)
        read = yield from sandbox.parse("model", raw, draft, {"name": name})
    except OSError:
        raise nonsense() from None
    finally:
        raw.unlink(missing_ok=True)
    notes = found.get("notes")
    return read | {"notes": [*(notes if isinstance(notes, list) else ()), *read.get("notes", ())]}
