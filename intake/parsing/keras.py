"""Reads a Keras model in TensorFlow's environment: its configuration is checked before anything is built of it.

Imports h5py, and TensorFlow once nothing speaks against the file, inside its functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import Refused, StudioError
from core.progress import Progress, Steps
from intake.items import KERAS_FILE, TFLITE_FILE, KerasFile
from intake.limits import LIMITS
from intake.parsing import keras_archive, keras_hdf5, keras_saved
from intake.parsing.keras_plans import Plan
from intake.parsing.untrusted import opened, shown
from intake.parsing.zip_index import START
from intake.sandbox.verdicts import too_hungry

CONVERTED = "converted"
"""The kind of a finding that is no item: a `.tflite` file that still has to be read."""
ANY_SIDE = 224
"""Pixels, for networks that take images of any size."""
_STEPS = ("looking through it", "starting TensorFlow and building it", "bringing it to the form that is worked on")
_OWN_SCALE = ("Rescaling", "Normalization")
_FREED = "The layers that scale pixels at its beginning became numbers of its input: no rounding is trained with them."


def parse(file: Path, out: Path, options: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """The facts of a `KerasFile`, its network written anew as `KERAS_FILE` into `out`; what only `.tflite` files tell
    is left at nothing.

    Of a SavedModel that Keras did not describe `TFLITE_FILE` is written instead, which nobody has checked, and
    `{"kind": CONVERTED, "notes": ...}` comes back. Options: `name`, what the file is called; `scratch`, a folder that
    has `intake.sandbox.SCRATCH_FOLDERS`. Raises `Refused`, and other `StudioError`s for networks that are none of
    images.
    """
    name, scratch = str(options.get("name") or file.name), Path(options["scratch"])
    tempfile.tempdir = str(scratch)  # looking for one would need to delete a file, which nobody may here
    yield _step(0)
    if file.stat().st_size > LIMITS.model_bytes:
        raise Refused(f"The file has {file.stat().st_size:,} bytes", expected=f"at most {LIMITS.model_bytes:,}")
    with _planned(file, name, scratch) as plan:
        yield _step(1)
        if plan.config is None:
            (out / TFLITE_FILE).write_bytes(keras_saved.converted(scratch))
            return {"kind": CONVERTED, "notes": [keras_saved.NOTE]}
        model = _built(plan)
    yield _step(2)
    with _foreseen("Keras cannot bring it to the form that is worked on", "a network that classifies images"):
        return _written(model, plan, out, name, file.stat().st_size).model_dump(mode="json")


@contextmanager
def _planned(file: Path, name: str, scratch: Path) -> Iterator[Plan]:
    """How the model is to be built, once nothing in the file speaks against it."""
    with opened(file) as source:
        is_zip = source.read(0, 4) == START
    if not is_zip:
        yield keras_hdf5.planned(file)
        return
    with keras_archive.opened(file, name) as archive:
        yield (
            keras_archive.planned(archive, scratch)
            if keras_archive.is_keras(archive)
            else keras_saved.planned(archive, scratch)
        )


def _built(plan: Plan) -> Any:
    """The model with its weights. Raises `Refused` where Keras cannot build it."""
    with _foreseen("Keras cannot build it", "a whole model as model.save writes it"):
        return plan.build()


@contextmanager
def _foreseen(what: str, expected: str) -> Iterator[None]:
    """Turns whatever Keras raises for networks and weights that do not fit, which can be anything, into `Refused`."""
    try:
        yield
    except StudioError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            raise too_hungry(LIMITS.memory_bytes) from error
        words = str(error).strip() or type(error).__name__
        raise Refused(
            f"{what} ({shown(' '.join(words.split()))})",
            expected=expected,
            action="Load it and save it again where it was made",
        ) from error


def _written(model: Any, plan: Plan, out: Path, name: str, size_bytes: int) -> KerasFile:
    from bridges.keras.form import api_of, content_of
    from bridges.keras.reading import house_form, is_doubtful
    from bridges.keras.scaling import without_scaling

    flat, notes = house_form(model, size := _size(model))
    new, mean, std = without_scaling(flat)
    if min(std) <= 0:
        new, mean, std = flat, (), ()
    is_freed = new is not flat
    (out / KERAS_FILE).write_bytes(content_of(new))
    layers = [type(layer).__name__ for layer in new.layers]
    _, height, width, channels = new.input_shape
    opening = next((layer for layer in layers if layer != "InputLayer"), "")
    return KerasFile(
        name=shown(name),
        size_bytes=size_bytes,
        notes=(
            *plan.notes,
            *(note for note in notes if not is_doubtful(note)),
            *([f"It takes images of any size; here it is given {height} x {width} pixels."] if size else []),
            *([_FREED] if is_freed else []),
        ),
        warnings=tuple(note for note in notes if is_doubtful(note)),
        height=height,
        width=width,
        channels=channels,
        classes=new.output_shape[-1],
        layers=len(layers),
        parameter_count=new.count_params(),
        api=api_of(new),
        saved_as=plan.saved_as,
        normalises=opening in _OWN_SCALE,
        mean=mean if is_freed else (),
        std=std if is_freed else (),
    )


def _size(model: Any) -> tuple[int, int, int] | None:
    """(H, W, C) to give a network that leaves its size open; None for any other."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or None not in shape[1:3] or shape[3] is None:
        return None
    return shape[1] or ANY_SIDE, shape[2] or ANY_SIDE, shape[3]


def _step(place: int) -> Progress:
    return Progress(done=place, total=len(_STEPS), unit="steps", doing=_STEPS[place])
