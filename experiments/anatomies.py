"""What a run's network is made of, kept in the run's folder: the network itself is not kept in float."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from core.anatomy import Anatomy
from core.bundle import Form, ModelBundle, form_title
from core.progress import Note, Steps
from profiling.sweep import engine_errors

PHASE = "Network"
FILE = "anatomy.json"
IMAGES = 32
"""Calibration images behind the histograms of activations."""


def why_no_anatomy(form: Form) -> str:
    """Why what a network of that form is made of is not known, in a sentence."""
    return (
        f"This is a model {form_title(form)}, and activations, parameters and histograms are looked up in the modules "
        "of a torch network."
    )


def study_anatomy(bundle: ModelBundle) -> Steps[Anatomy]:
    """Of a bundle whose network is a torch module."""
    from profiling.anatomy import anatomy_of

    images = bundle.data.calibrate.take(IMAGES).pixels
    anatomy = yield from anatomy_of(bundle.module, bundle.contract.prepare(images))
    return anatomy


def write_anatomy(bundle: ModelBundle, folder: Path) -> Steps[None]:
    """Keep what the network is made of in a run's folder; nothing, and a note, where it cannot be followed.

    Runs of models of Keras and `.tflite` files, of which it is never known, do without.
    """
    if bundle.form != "torch":
        yield Note(text=f"What the network is made of was not kept. {why_no_anatomy(bundle.form)}")
        return
    try:
        anatomy = yield from study_anatomy(bundle)
    except engine_errors() as reason:  # what the run measured is worth more
        yield Note(text=f"What the network is made of was not kept: {reason}", warning=True)
        return
    (folder / FILE).write_text(anatomy.model_dump_json())


def anatomy_of_run(folder: Path) -> tuple[Anatomy | None, str]:
    """What a run kept of its network, or one sentence on why there is nothing."""
    try:
        return Anatomy.model_validate_json((folder / FILE).read_bytes()), ""
    except FileNotFoundError:
        return None, "Its run kept nothing of its network: it was made by an earlier version, or its notes say why."
    except ValidationError:
        return None, "What its run kept of its network cannot be read. Run its recipe again."
