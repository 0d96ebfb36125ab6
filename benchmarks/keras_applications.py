"""Networks of keras.applications as a person would bring them. Runs in TensorFlow's environment.

A task for `bridges.asking`; it imports of the studio only what that environment has.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bridges.keras.eligibility import table
from bridges.keras.form import api_of, write
from bridges.keras.reading import house_form
from bridges.keras.scaling import without_scaling
from core.progress import Steps

CLASSES = 10


def eligibility(name: str, side: int) -> Steps[dict[str, Any]]:
    """Task: that network of Keras 3, with random weights, for images of side x side, and which techniques work on it.

    Returns its `parameters`, `api`, `notes` and `eligibility`.
    """
    import keras

    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=CLASSES)
    flat, notes = house_form(network)
    model, _, _ = without_scaling(flat)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.npz"
        write(model, file)
        found = yield from table(str(file))
    return {"parameters": int(network.count_params()), "api": api_of(model), "notes": list(notes), **found}
