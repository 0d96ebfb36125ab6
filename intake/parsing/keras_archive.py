"""A `.keras` file: a zip of a configuration, which is looked at first, and the weights as HDF5."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import Refused
from intake.limits import MIB
from intake.parsing import archives, keras_hdf5
from intake.parsing.keras_plans import MOST_CONFIG_BYTES, Plan, config_of, is_older, title

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
_WHOLE = "a .keras file with config.json, metadata.json and model.weights.h5, as model.save writes it"


@contextmanager
def opened(file: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """The zip, its names and sizes checked. Raises `Refused`, also for entries that turn out damaged."""
    with archives.opened(file, name) as archive:
        try:
            yield archive
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise Refused(f"The zip is damaged ({error})", action="Save the model again") from None


def is_keras(archive: zipfile.ZipFile) -> bool:
    """Whether it holds what `model.save("model.keras")` writes, and no SavedModel."""
    return any(name in (CONFIG, WEIGHTS) for name in archive.namelist())


def planned(archive: zipfile.ZipFile, scratch: Path) -> Plan:
    """How the model is built, its weights lying unpacked in `scratch`. Raises `Refused`."""
    missing = [name for name in (CONFIG, WEIGHTS) if name not in archive.namelist()]
    if missing:
        raise Refused(f"A Keras file without {' and without '.join(missing)}", expected=_WHOLE, action="Save it again")
    if strange := [name for name in archive.namelist() if re.match(r"assets/.", name)]:
        raise Refused(
            f"A Keras file with tables of its own ({strange[0]:.100})",
            expected="a network that takes images alone",
            action="Save the part that classifies images",
        )
    checked = config_of(text(archive, CONFIG, MOST_CONFIG_BYTES), CONFIG)
    version = _version(archive)
    path = scratch / WEIGHTS
    unpack(archive, WEIGHTS, path)
    keras_hdf5.check(path)
    build = partial(_build, checked.config, path, older=is_older(version))
    return Plan(checked.config, title(version), build, checked.notes)


def text(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """An entry's bytes. Raises `Refused` where there are more than `most`."""
    if (size := archive.getinfo(name).file_size) > most:
        raise Refused(f"{name} has {size:,} bytes", expected=f"at most {most:,}")
    return archive.read(name)


def unpack(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Write an entry as a file of our name."""
    with archive.open(name) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, MIB)


def _version(archive: zipfile.ZipFile) -> object:
    """Of Keras, as the file says; it is one of Keras 3 where it says nothing."""
    try:
        return json.loads(text(archive, METADATA, MIB))["keras_version"]
    except (KeyError, TypeError, ValueError):
        return "3"


def _build(config: dict[str, Any], weights: Path, *, older: bool) -> Any:
    if older:
        from tf_keras.src.saving import serialization_lib
    else:
        from keras.src.saving import serialization_lib
    model = serialization_lib.deserialize_keras_object(config, safe_mode=True)
    model.load_weights(weights if not older else str(weights))
    return model
